#define CRNN_REAL_IS_DOUBLE 0
#define ISA_NAME "scalar"
#define TABLE_NAME core_kernels_scalar_f32
#define TILE_ROWS 3
#define COSTS {2.5, 0.75, 0.75, 0, 0.95, 8, 400, 200}

#include "../simd/scalar.h"

#include "../kernels/table.inc"
