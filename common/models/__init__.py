"""Model families: anything that turns views of a draft into logits."""
