#define CRNN_REAL_IS_DOUBLE 1
#define ISA_NAME "scalar"
#define TABLE_NAME core_kernels_scalar_f64
#define TILE_ROWS 3
#define COSTS {2.5, 1.05, 0.65, 0, 1, 8, 400, 200}

#include "../simd/scalar.h"

#include "../kernels/table.inc"
