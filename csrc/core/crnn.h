/* libcrnn: recurrent layers on raw buffers of floats.
 *
 * The library computes forward and backward through time of recurrent layers, attention, dense
 * maps and operations on each step, alone or as the nodes of a plan. It also chooses symbols from
 * logits, and has losses, optimizer steps and linear least squares. It works on float and on
 * double, with an instruction set that is chosen at run time. It allocates no memory and checks no
 * shapes. The functions that return a crnn_status tell how large a buffer must be, and are the only
 * ones that can fail. This header includes all others; a program includes this one alone.
 *
 * Letters: B sequences in a batch, T steps, I inputs, H hidden units, P outputs of a step, G gates,
 * K classes or symbols, N = the sum of the lengths. [a][b] and (a, b) are the shape of an array
 * whose last axis is contiguous. `void *` points to float or to double, as the dtype in the same
 * struct or call says.
 *
 * Memory: the caller owns every buffer and every struct, and has checked every size. A function
 * only reads through a pointer to const. No function keeps a pointer after it has returned, except
 * those that fill a struct which refers to a buffer: crnn_rows, crnn_tape and crnn_search. Such a
 * buffer must live as long as the struct.
 *
 * Threads: any number of threads may call any function at the same time, as long as no two of them
 * write to the same buffer. A call may use more threads than the one that called it (crnn_threads).
 */
#ifndef CRNN_H
#define CRNN_H

#include "crnn/base.h"
#include "crnn/layer.h"
#include "crnn/recurrent.h"
#include "crnn/ops.h"
#include "crnn/likelihood.h"
#include "crnn/windows.h"
#include "crnn/ridge.h"
#include "crnn/spectral.h"
#include "crnn/rowwise.h"
#include "crnn/attention.h"
#include "crnn/search.h"
#include "crnn/plan.h"
#include "crnn/forecast.h"

#endif
