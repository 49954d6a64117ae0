"""A tokenizer to make vocabularies of."""

from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789"
MARKS = ".,;:!?%()[]{}'\"-/&$°+#"


def split(text: str) -> list[str]:
    return text.split()


def source_tokenizer(extra: str = "") -> Tokenizer:
    """A small WordPiece tokenizer of the kind that trimming starts from."""
    words = split("the soup cook don u s e g add salt hello we ##ing ##s ##° rareword")
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *LETTERS, *MARKS, *extra, *words]
    pieces += [f"##{c}" for c in (*LETTERS, *extra)]
    unique = dict.fromkeys(pieces)
    model = models.WordPiece({p: i for i, p in enumerate(unique)}, unk_token="[UNK]")
    tokenizer = Tokenizer(model)
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.add_special_tokens(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"])
    return tokenizer
