"""Compositions: layers that contain other layers."""
