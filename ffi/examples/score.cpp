// Scores its arguments with the C++ wrapper.
//
//     c++ -std=c++17 score.cpp $(pkg-config --cflags --libs phishcnn) -o score
#include <phishcnn.hpp>

#include <cstdio>
#include <exception>
#include <string_view>

int main(int argc, char **argv) try {
  const phishcnn::Model model = phishcnn::Model::embedded();
  phishcnn::Scorer scorer(model);
  int failed = 0;

  for (int i = 1; i < argc; i++) {
    const std::string_view url = argv[i];
    try {
      const phishcnn::Explanation why = scorer.explain(url);
      std::printf("%-10s  %.4f  %+8.3f  %s\n", phishcnn_verdict_text(why.result.verdict),
                  double(why.result.probability), double(why.result.logit), argv[i]);
      for (const phishcnn_segment &piece : why.segments) {
        const std::string_view text = url.substr(piece.start, piece.end - piece.start);
        std::printf("  %+8.3f  %.*s\n", double(piece.contribution), int(text.size()), text.data());
      }
    } catch (const phishcnn::Error &error) {
      std::printf("error %s\n", error.what());
      failed = 1;
    }
  }
  return failed;
} catch (const std::exception &error) {
  std::fprintf(stderr, "%s\n", error.what());
  return 3;
}
