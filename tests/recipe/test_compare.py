from modeledge.recipe.compare import brief, catalogue, diff, explain, lineage
from modeledge.recipe.resolve import resolve, shipped


def test_a_recipe_does_not_differ_from_itself_nor_in_what_describes_it():
    assert diff(resolve("bert"), resolve("bert")) == []


def test_roberta_over_bert_is_at_most_fifteen_lines_and_names_what_the_paper_changed():
    rows = {path: (a, b) for path, a, b in diff(resolve("bert"), resolve("roberta"))}
    assert len(rows) <= 15
    assert rows["objectives.nsp"][1] is None
    assert rows["data.text"][1]["kind"] == "full_sentences"
    assert rows["tokenizer"][1]["kind"] == "byte_bpe"


def test_a_part_in_one_line():
    assert brief({"kind": "mlp", "width": 8, "norm": {"kind": "rms"}}) == "mlp (width: 8, norm: rms)"
    assert brief(None) == "-" and brief([1, {"kind": "mlm"}]) == "[1, mlm]"


def test_explain_has_a_place_for_every_leaf_of_every_shipped_recipe():
    for name in shipped():
        assert all(place for _, _, place in explain(resolve(name))), name


def test_the_catalogue_knows_the_family_and_source_of_every_recipe():
    rows = catalogue()
    assert [r["name"] for r in rows] == list(shipped())
    assert all(r["family"] and r["source"] for r in rows), [
        r["name"] for r in rows if not (r["family"] and r["source"])
    ]


def test_the_lineage_shows_each_recipe_once_below_its_parent():
    lines = lineage()
    assert sorted(line.strip() for line in lines) == sorted(shipped())
    assert lines.index("  roberta") > lines.index("bert")
