"""The words that errors share."""

from crossbow_lab.errors import nearest


def test_nearest_names_the_closest_whatever_its_case():
    """A name with capitals is found too."""
    assert nearest("SMAA", ["SMA", "EASGD", "SSGD"]).startswith("did you mean 'SMA'?")
    assert nearest("lennet", ["mlp", "lenet"]).startswith("did you mean 'lenet'?")


def test_nearest_lists_what_is_known_where_nothing_is_close():
    """No guess is made for something quite different."""
    assert nearest("xyz", ["mlp", "lenet"]) == "Known: lenet, mlp"
