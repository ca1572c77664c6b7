#define CRNN_REAL_IS_DOUBLE 0
#define ISA_NAME "avx512"
#define TABLE_NAME core_kernels_avx512_f32
#define TILE_ROWS 7
#define COSTS {11, 2.7, 1.4, 0.9}

#include "../simd/avx512.h"

#include "../kernels/table.inc"
