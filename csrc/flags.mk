# Compile flags of the core and of each instruction set: the one place they stand.
# csrc/Makefile includes this file and setup.py reads it, so keep to `NAME = words`.

# LEVELS_<machine>: the instruction sets built there; LEVELS_any: on every other machine;
# LEVELS_optional: what CRNN_SKIP_ISA may leave out, on any machine.
# A level is isa/<level>_f32.c and isa/<level>_f64.c; dispatch.c sees CRNN_HAVE_<LEVEL>.
LEVELS_any = scalar
LEVELS_x86_64 = scalar avx2 avx512
LEVELS_aarch64 = scalar neon
LEVELS_arm64 = scalar neon
LEVELS_optional = avx2 avx512 neon

# gcc and clang. Contraction is off because the sums have a stated order: the bodies ask for
# fused multiply-add where they want it. No -ffast-math, and nothing taken from the build machine.
CFLAGS_base = -std=c11 -O3 -ffp-contract=off -fno-math-errno -fvisibility=hidden -pthread \
    -Wall -Wextra
CFLAGS_scalar =
CFLAGS_neon =
CFLAGS_avx2 = -mavx2 -mfma
CFLAGS_avx512 = -mavx512f -mavx512dq -mavx512bw -mavx512vl -mfma

# Added by setup.py for builds without debugging symbols: the flags of Python itself may ask for them.
CFLAGS_release = -g0

# Added for the sanitizer builds; LDFLAGS_<sanitizer> at compile and at link. The thread sanitizer
# counts every access to memory, so its code has to keep sums in registers.
CFLAGS_sanitize = -g1 -UNDEBUG -fno-omit-frame-pointer -fno-sanitize-recover=all
CFLAGS_address = -O1
CFLAGS_thread = -O2
LDFLAGS_address = -fsanitize=address,undefined
LDFLAGS_thread = -fsanitize=thread

# Microsoft's compiler. /GL- keeps each file to its own instruction set.
MSVC_base = /std:c11 /experimental:c11atomics /O2 /GL- /W3 /utf-8
MSVC_scalar =
MSVC_neon =
MSVC_avx2 = /arch:AVX2
MSVC_avx512 = /arch:AVX512
