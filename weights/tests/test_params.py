import pytest
from conftest import WEIGHTS
from phishcnn_train.params import Params, ParamsError

COMPACT = (WEIGHTS / "compact.toml").read_text()


@pytest.mark.parametrize("name", ["compact", "large", "dephides", "mine/mine"])
def test_ours_are_complete(name):
    params = Params.load(WEIGHTS / f"{name}.toml")
    assert (params.path.parent / params.data).exists()


@pytest.mark.parametrize(
    "old, new, problem",
    [
        ("epochs =", "epoch =", "missing .*train.epochs.* unknown .*train.epoch"),
        ("purpose =", "aim =", "missing .*purpose.* unknown .*aim"),
        ("max=256", "max=300", "buckets must rise to at least 300"),
        ("[train]", "[train", "bad.toml"),
        ("patience = 3", "patience = 0", "train.patience must be a number of epochs, 1 or more"),
        ("sources = {", "sources = { a = -1", "weights.sources must give each source a factor"),
        ("blend = [", "blend = [0, ", "train.blend must be a list of shares"),
        ("blend = [", 'blend = ["0.5", ', "train.blend must be a list of shares"),
    ],
)
def test_mistakes_are_named(tmp_path, old, new, problem):
    (tmp_path / "bad.toml").write_text(COMPACT.replace(old, new, 1))
    with pytest.raises(ParamsError, match=problem):
        Params.load(tmp_path / "bad.toml")
