#define CRNN_REAL_IS_DOUBLE 1
#define ISA_NAME "neon"
#define TABLE_NAME core_kernels_neon_f64
#define TILE_ROWS 6
#define COSTS {6, 2, 1.4, 1, 2100, 850}

#include "../simd/neon.h"

#include "../kernels/table.inc"
