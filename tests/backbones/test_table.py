import torch

from modeledge.core import Batch, Facts, find


def test_a_words_state_is_its_row_whatever_stands_beside_it():
    part = find("backbones", "table")
    table = part(part.Config(kind="table", width=10), Facts(vocab=40))
    ids = torch.tensor([[3, 5, 3], [5, 9, 1]])
    out = table(Batch(ids=ids), keep={"embedding"})
    assert torch.equal(out.states[0, 0], out.states[0, 2]) and torch.equal(out.states[0, 1], out.states[1, 0])
    assert torch.equal(out.states[1, 1], table.embed.weight[9]) and out.kept["embedding"] is out.states
    assert table.embed.weight.abs().max() <= 0.05 and table.width == 10  # within +-0.5 / width, as the released tool
