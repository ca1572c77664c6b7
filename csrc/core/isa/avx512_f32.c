#define CRNN_REAL_IS_DOUBLE 0
#define ISA_NAME "avx512"
#define TABLE_NAME core_kernels_avx512_f32
#define TILE_ROWS 7
#define COSTS {6.7, 1.17, 0.833, 2.1, 0.58, 44, 4800, 7000}

#include "../simd/avx512.h"

#include "../kernels/table.inc"
