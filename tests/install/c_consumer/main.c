/* SPDX-License-Identifier: Apache-2.0
 *
 * A C program that uses the installed C library. It checks that the library and its header have the same version, and calls one
 * op. */
#include <math.h>
#include <stdio.h>

#include <stilla/c_api.h>

int main(void) {
  float x[4] = {0.0f, 0.0f, 0.0f, 0.0f};
  stilla_error error;
  const stilla_matrix y = {x, 1, 4, 4};
  const stilla_const_matrix from = {x, 1, 4, 4};
  if (stilla_c_api_version() != STILLA_C_API_VERSION || stilla_softmax(y, from, NULL, &error) != STILLA_OK) return 1;
  printf("Stilla %s on %s: %g\n", stilla_version(), stilla_target(), x[3]);
  return fabs(x[3] - 0.25) < 1e-6 ? 0 : 1;
}
