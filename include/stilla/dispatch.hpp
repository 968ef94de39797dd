// SPDX-License-Identifier: Apache-2.0
//
// Chooses the target whose kernels run. By default this is the best target that this CPU and operating system have.
// `force_target` chooses another for the whole program, whatever compiler flags its source files were built with. Code that is
// called often should ask for the target only once, at its start:
//
//   with_target(active_target(), [&](auto target) { step<decltype(target)>(...); });
#pragma once

#include <atomic>
#include <cstddef>
#include <string>
#include <string_view>
#include <utility>

#include <stilla/base/cpu.hpp>
#include <stilla/base/error.hpp>
#include <stilla/base/target.hpp>
#include <stilla/base/type_list.hpp>
#include <stilla/targets.hpp>

#include <stilla/base/push_macros-inl.hpp>

// The name of the target that force_target() chose: a string literal, or null for the best target. The variable is outside the ABI
// namespace (base/config.hpp), because the whole program has one choice.
namespace stilla::program_state {
inline std::atomic<const char*> forced_target_name{nullptr};
}  // namespace stilla::program_state

namespace stilla { inline namespace STILLA_ABI {

namespace detail {

// Whether the fallback of the available target T is chosen instead of T. This is so if the fallback is one of the targets in List,
// and T says that it is not faster than the fallback on this CPU (is_faster in base/target.hpp).
template <class T, class List>
bool gives_way([[maybe_unused]] const CpuInfo& cpu) {
  if constexpr (requires { T::is_faster(cpu); }) {
    if constexpr (is_in_list<typename T::Fallback, List>) return !T::is_faster(cpu);
  }
  return false;
}

template <class... Ts>
TargetId best_target(TypeList<Ts...> list, const CpuInfo& cpu) {
  TargetId best = Scalar::id;
  bool found = false;
  ((!found && Ts::available(cpu) && !gives_way<Ts, decltype(list)>(cpu) ? (best = Ts::id, found = true) : false), ...);
  return best;
}

template <class... Ts, class F>
void with_target(TypeList<Ts...>, TargetId id, F&& f) {
  bool done = false;
  ((!done && Ts::id == id ? (f(Ts{}), done = true) : false), ...);
  if (!done) f(Scalar{});
}

}  // namespace detail

// Calls f(Target{}) for the target of this id. Calls f(Scalar{}) if this source file was not compiled with such a target. The
// caller must make sure that the CPU has the target: ids come from active_target() or for_each_available_target().
template <class F>
void with_target(TargetId id, F&& f) {
  detail::with_target(Targets{}, id, std::forward<F>(f));
}

// The target whose kernels run now.
inline TargetId active_target() {
  static const TargetId best = detail::best_target(Targets{}, cpu_info());
  const char* forced = program_state::forced_target_name.load(std::memory_order_relaxed);
  return forced == nullptr ? best : TargetId{forced};
}

// Calls f(TargetId) for every compiled target that this machine can run, best first.
template <class F>
void for_each_available_target(F&& f) {
  for_each_type(Targets{}, [&](auto target) {
    if (decltype(target)::available(cpu_info())) f(decltype(target)::id);
  });
}

// Makes every later call of an op run the kernels of the target `name`; an empty name goes back to the best target. A target that is
// unknown, or that the CPU or operating system lacks, is refused before any instruction of it can run.
inline Status force_target(std::string_view name) {
  if (name.empty()) {
    program_state::forced_target_name.store(nullptr);
    return success();
  }
  std::string known, runnable;
  const char* chosen = nullptr;
  bool missing = false;
  for_each_type(Targets{}, [&](auto target) {
    using T = decltype(target);
    const bool available = T::available(cpu_info());
    known += concat(known.empty() ? "" : ", ", T::id.name);
    if (available) runnable += concat(runnable.empty() ? "" : ", ", T::id.name);
    if (name != T::id.name) return;
    if (available) {
      chosen = T::id.name;
    } else {
      missing = true;
    }
  });
  if (missing) {
    return Error{ErrorKind::bad_argument,
                 concat("target '", name, "' is not supported by this CPU and operating system; it can run: ", runnable)};
  }
  if (chosen == nullptr) {
    return Error{ErrorKind::bad_argument, concat("unknown target '", printable(name), "'; this program has: ", known)};
  }
  program_state::forced_target_name.store(chosen);
  return success();
}

}}  // namespace stilla

#include <stilla/base/pop_macros-inl.hpp>
