#define CRNN_REAL_IS_DOUBLE 1
#define ISA_NAME "avx512"
#define TABLE_NAME core_kernels_avx512_f64
#define TILE_ROWS 7
#define COSTS {6.5, 2.1, 1.45, 0.7, 3300, 1650}

#include "../simd/avx512.h"

#include "../kernels/table.inc"
