"""Tables of explanations: one row per column, largest first, and signs where there are signs."""

from probity.card import CardNumber
from probity.metric import metric
from probity.model_cards.tables import explanation_tables


def number(name, column, value, **slice_):
    group = ",".join(f"{key}={text}" for key, text in slice_.items()) or "overall"
    return CardNumber(
        finding=f"explanations/{name}/{column}/{group}",
        metric=name,
        status="measured",
        slice=slice_,
        feature=column,
        value=value,
        n=100,
        direction=metric(name).direction,
    )


NUMBERS = [
    number("mean_abs_shap", "small", 0.1),
    number("mean_abs_shap", "large", 0.9),
    number("mean_shap", "small", -0.05),
    number("mean_shap", "large", 0.2),
    number("permutation_importance", "large", 0.03),
    *(number(name, column, 0.5, sex=sex) for name in ("mean_abs_shap", "mean_shap", "mean_shap_difference")
      for column in ("small", "large") for sex in ("f", "m")),
]  # fmt: skip


def test_columns_are_ranked_and_what_is_not_known_of_one_is_marked():
    overall = next(iter(explanation_tables(NUMBERS)))
    assert overall.heads == ("Column", "mean |Shapley value|", "mean Shapley value", "drop of AUC when permuted")
    assert [row.header for row in overall.rows] == ["large", "small"]
    assert [cell.text for cell in overall.rows[1].cells] == ["0.100", "\N{MINUS SIGN}0.050", "\N{EN DASH}"]


def test_groups_have_a_table_for_each_metric_and_signed_means_are_on_demand():
    tables = list(explanation_tables(NUMBERS))[1:]
    assert [table.caption.rsplit(" ", 1)[1] for table in tables] == ["sex"] * 3
    assert [table.collapsed for table in tables] == [False, False, True]
    assert [table.heads for table in tables] == [("Column", "f", "m")] * 3
    assert [[row.header for row in table.rows] for table in tables] == [["large", "small"]] * 3
    assert "mean_shap_difference" in tables[1].ids


def test_without_explanations_there_is_no_table():
    assert list(explanation_tables([])) == []
