// SPDX-License-Identifier: Apache-2.0
//
// npu_compile MODEL DEVICE BLOB [KEY=VALUE ...]
//
// Compiles a model with OpenVINO's C interface, and exports the compiled blob. The program is built for Windows and run by
// wine, because only the Windows wheel of OpenVINO has the NPU's compiler (judge_openvino.py).
#include <stdio.h>
#include <string.h>

#include <openvino/c/openvino.h>

enum { max_properties = 8 };

static int is_ok(const char* what, ov_status_e status) {
  if (status == OK) return 1;
  printf("%s: status %d: %s\n", what, (int)status, ov_get_last_err_msg());
  return 0;
}

int main(int argc, char** argv) {
  const char* p[2 * max_properties] = {0};  // keys and values, one after the other
  ov_core_t* core = NULL;
  ov_model_t* model = NULL;
  ov_compiled_model_t* compiled = NULL;
  size_t n = 0;
  if (argc < 4 || argc > 4 + max_properties) {
    printf("usage: npu_compile MODEL DEVICE BLOB [KEY=VALUE ...]\n");
    return 2;
  }
  for (int i = 4; i < argc; ++i) {
    char* equals = strchr(argv[i], '=');
    if (equals == NULL) return 2;
    *equals = '\0';
    p[n++] = argv[i];
    p[n++] = equals + 1;
  }
  if (!is_ok("create", ov_core_create(&core))) return 1;
  if (!is_ok("read", ov_core_read_model(core, argv[1], NULL, &model))) return 1;
  if (!is_ok("compile", ov_core_compile_model(core, model, argv[2], n, &compiled, p[0], p[1], p[2], p[3], p[4], p[5], p[6], p[7], p[8],
                                              p[9], p[10], p[11], p[12], p[13], p[14], p[15]))) {
    return 1;
  }
  return is_ok("export", ov_compiled_model_export_model(compiled, argv[3])) ? 0 : 1;
}
