from modeledge.core import nearest, unknown


def test_the_nearest_name_is_offered_and_a_far_one_is_not():
    assert nearest("mml", ["mlm", "clm", "nsp"]) == "mlm"
    assert nearest("zzzz", ["mlm", "clm"]) is None


def test_dashes_and_case_do_not_matter():
    assert nearest("Weight-Decay", ["weight_decay", "warmup"]) == "weight_decay"


def test_the_message_says_where_what_and_what_is_known():
    text = unknown("--task", "task", "clasify", ["tag", "classify"], then="look")
    assert text.splitlines() == [
        "--task: no task named 'clasify'; did you mean 'classify'?",
        "  known: classify, tag",
        "  next: look",
    ]
