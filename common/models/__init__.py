"""Model families: anything that turns views of a draft into logits."""

DEFAULT_GOLIATH = "goliath-mini"
DEFAULT_DAVID = "david-recipes"
