#define CRNN_REAL_IS_DOUBLE 1
#define ISA_NAME "neon"
#define TABLE_NAME core_kernels_neon_f64
#define TILE_ROWS 6
#define COSTS {6, 1.56, 0.74, 1.3, 0.9, 36, 2500, 3000}

#include "../simd/neon.h"

#include "../kernels/table.inc"
