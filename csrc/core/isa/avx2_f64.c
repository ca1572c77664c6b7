#define CRNN_REAL_IS_DOUBLE 1
#define ISA_NAME "avx2"
#define TABLE_NAME core_kernels_avx2_f64
#define TILE_ROWS 3
#define COSTS {6, 2.0, 1.15, 0.7, 2100, 850}

#include "../simd/avx2.h"

#include "../kernels/table.inc"
