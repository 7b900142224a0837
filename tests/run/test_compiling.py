import pytest

from modeledge.run.compiling import Pace, fastest


def trial(paces, say=print):
    """What is decided where a way has this pace, (seconds, losses), or fails."""

    def pace(way):
        if isinstance(paces[way], Exception):
            raise paces[way]
        seconds, losses = paces[way]
        return Pace(seconds, 100, 0.0, 4.0, losses)

    return fastest(pace, say)


PLAIN = (2.0, (7.0, 6.0, 5.0))


@pytest.mark.parametrize(
    ("compiled", "graphs", "found", "gain"),
    [
        ((1.6, (7.0, 6.1, 5.1)), (1.0, (7.0, 6.1)), "graphs", 2.0),
        ((1.6, (7.0, 6.1, 5.1)), (1.59, (7.0, 6.1, 5.1)), True, 1.25),  # no faster
        ((1.99, (7.0, 6.1, 5.1)), (1.97, (7.0, 6.1, 5.1)), False, 1.0),
        ((1.6, (7.0, 6.1, 5.1)), (1.0, (7.0, 6.1, 6.1)), True, 1.25),  # another loss at its third step
        ((1.6, (7.0, float("nan"), 5.1)), (1.0, (7.0, 6.0, 5.0)), "graphs", 2.0),
    ],
)
def test_the_fastest_way_with_the_same_losses_is_taken(compiled, graphs, found, gain):
    said = []
    decided = trial({False: PLAIN, True: compiled, "graphs": graphs}, said.append)
    assert decided == {"compile": found, "compile_gain": gain, "trial_seconds": 12.0}
    assert all("losses are" in line for line in said)


def test_a_way_that_fails_is_said_and_not_taken():
    said = []
    failing = RuntimeError("no kernel\n  at line 3")
    decided = trial({False: PLAIN, True: failing, "graphs": failing}, said.append)
    assert decided["compile"] is False and decided["trial_seconds"] == 4.0
    assert said == [
        f"not {way}: that failed with RuntimeError: no kernel" for way in ("compiled", "compiled into graphs")
    ]
