/* PhishCNN for C++17: phishcnn.h with owners and exceptions.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 *
 *     phishcnn::Model model = phishcnn::Model::embedded();   // share it between threads
 *     phishcnn::Scorer scorer(model);                        // one for each thread
 *     if (scorer.score(url).verdict == PHISHCNN_PHISHING) …
 *
 * Everything here is inline over the C functions, whose descriptions hold. This wrapper allocates:
 * one block for a model, one for a scorer's scratch memory, none when scoring. Where exceptions or a
 * heap are unwanted, use phishcnn.h.
 */

#ifndef PHISHCNN_HPP
#define PHISHCNN_HPP

#include "phishcnn.h"

#include <array>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace phishcnn {

/// A status that is not PHISHCNN_OK.
class Error : public std::runtime_error {
public:
  /// item: what of a model file is to blame, or empty.
  explicit Error(phishcnn_status status, std::string_view item = {})
      : std::runtime_error(std::to_string(status) + ": " + phishcnn_status_text(status) +
                           (item.empty() ? "" : ": ") + std::string(item)),
        status_(status) {}

  /// The number, PHISHCNN_….
  phishcnn_status status() const noexcept { return status_; }

private:
  phishcnn_status status_;
};

namespace detail {
inline void check(phishcnn_status status) {
  if (status != PHISHCNN_OK) throw Error(status);
}

inline std::string_view view(phishcnn_str text) noexcept { return {text.data, text.size}; }
} // namespace detail

/// A loaded model. Moves, does not copy; all its functions may be called by many threads at once.
class Model {
public:
  /// The model inside the library.
  static Model embedded() {
    Model model;
    detail::check(phishcnn_model_load_embedded(model.get()));
    return model;
  }

  /// A model's bytes, which must outlive it. Throws Error 101 to 106 or 108.
  static Model memory(const void *file, std::size_t size) {
    Model model;
    std::array<char, 128> item;
    check(phishcnn_model_load(model.get(), file, size, item.data(), item.size()), item.data());
    return model;
  }

  /// A model file, mapped. Throws Error 101 to 106, 108 or 109.
  static Model file(const std::string &path) {
    Model model;
    std::array<char, 128> item;
    check(phishcnn_model_load_file(model.get(), path.c_str(), item.data(), item.size()),
          item.data());
    return model;
  }

  phishcnn_info info() const {
    phishcnn_info info;
    detail::check(phishcnn_model_info(get(), &info));
    return info;
  }

  /// The value of a key of the file's metadata. Throws Error 108 when it is missing.
  std::string_view metadata(const std::string &key) const {
    phishcnn_str value;
    detail::check(phishcnn_model_metadata(get(), key.c_str(), &value));
    return detail::view(value);
  }

  /// The model's identity, in hexadecimal.
  std::string sha256() const {
    std::array<char, PHISHCNN_SHA256_SIZE> hex;
    detail::check(phishcnn_model_sha256(get(), hex.data(), hex.size()));
    return hex.data();
  }

  /// The verdict of a logit that was stored.
  phishcnn_verdict judge(float logit) const {
    phishcnn_verdict verdict;
    detail::check(phishcnn_judge(get(), logit, &verdict));
    return verdict;
  }

  /// The probability where the share base_rate of all URLs is phishing.
  float probability(float logit, float base_rate) const {
    float probability;
    detail::check(phishcnn_probability(get(), logit, base_rate, &probability));
    return probability;
  }

  std::size_t scratch_size() const noexcept { return phishcnn_model_scratch_size(get()); }
  std::size_t max_segments() const noexcept { return phishcnn_model_max_segments(get()); }

  const phishcnn_model *get() const noexcept { return model_.get(); }

private:
  struct Unload {
    void operator()(phishcnn_model *model) const noexcept {
      phishcnn_model_unload(model);
      delete model;
    }
  };

  // Zeroed, so that unloading what was never loaded is harmless.
  Model() : model_(new phishcnn_model()) {}

  static void check(phishcnn_status status, const char *item) {
    if (status != PHISHCNN_OK) throw Error(status, item);
  }

  phishcnn_model *get() noexcept { return model_.get(); }

  std::unique_ptr<phishcnn_model, Unload> model_;
};

/// A score and what each piece of the URL contributes.
struct Explanation {
  phishcnn_result result;
  std::vector<phishcnn_segment> segments;
};

/// Scratch memory for one thread. The model must outlive it.
class Scorer {
public:
  explicit Scorer(const Model &model)
      : model_(&model), scratch_((model.scratch_size() + sizeof(Block) - 1) / sizeof(Block)) {}

  /// Throws Error 201 or 202 for what is no URL.
  phishcnn_result score(std::string_view url) {
    phishcnn_result result;
    detail::check(phishcnn_score(model_->get(), url.data(), url.size(), scratch_.data(), size(),
                                 &result));
    return result;
  }

  /// One result for each URL, in order; does not throw for a URL: look at each status.
  std::vector<phishcnn_result> score(const std::vector<phishcnn_str> &urls) {
    std::vector<phishcnn_result> results(urls.size());
    phishcnn_score_batch(model_->get(), urls.data(), urls.size(), scratch_.data(), size(),
                         results.data());
    return results;
  }

  Explanation explain(std::string_view url) {
    Explanation out{{}, std::vector<phishcnn_segment>(model_->max_segments())};
    std::size_t count = 0;
    detail::check(phishcnn_explain(model_->get(), url.data(), url.size(), scratch_.data(), size(),
                                   out.segments.data(), out.segments.size(), &count, &out.result));
    out.segments.resize(count);
    return out;
  }

private:
  struct alignas(16) Block {
    unsigned char bytes[16];
  };

  std::size_t size() const noexcept { return scratch_.size() * sizeof(Block); }

  const Model *model_;
  std::vector<Block> scratch_;
};

} // namespace phishcnn

#endif /* PHISHCNN_HPP */
