"""A text classifier that reads distributions over tokens as well as tokens, so that a gradient can
flow back to them.
"""

import math
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForSequenceClassification,
    PretrainedConfig,
    PreTrainedModel,
)
from transformers import initialization as init
from transformers.modeling_outputs import SequenceClassifierOutput
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

from common.processes.simplex.state import Bag, embed_bag


class SimplexClassifierConfig(PretrainedConfig):
    """The shape of a classifier, its labels, and the vocabulary that it reads.

    Args:
        backbone: configuration of the transformers encoder inside, with its `model_type`.
        labels: names of the labels, in the order of the logits.
        tokenizer_sha256: SHA-256 of the vocabulary, hex.
    """

    model_type = "simplex_classifier"
    sub_configs: ClassVar = {"backbone": AutoConfig}

    def __init__(
        self,
        backbone: dict[str, Any] | PretrainedConfig | None = None,
        labels: list[str] | None = None,
        tokenizer_sha256: str = "",
        **kwargs: Any,
    ):
        """See the class."""
        if backbone is None:
            backbone = {"model_type": "bert"}
        if isinstance(backbone, dict):
            backbone = CONFIG_MAPPING[backbone.get("model_type", "bert")](**backbone)
        self.backbone = backbone
        self.labels = [str(label) for label in labels or ()]
        self.tokenizer_sha256 = tokenizer_sha256
        # transformers' own names for the same thing, so that its tools can read the folder.
        kwargs["id2label"] = dict(enumerate(self.labels))
        kwargs["label2id"] = {label: i for i, label in enumerate(self.labels)}
        super().__init__(**kwargs)

    @property
    def vocab_size(self) -> int:
        """V, rows of the embedding."""
        return int(self.backbone.vocab_size)

    @property
    def max_positions(self) -> int:
        """Longest block that can be read."""
        return int(self.backbone.max_position_embeddings)


class SimplexClassifier(PreTrainedModel):
    """Says which label a block of text has, from its tokens or from what is believed of them.

    A position is read as the expected embedding of its distribution, softmax(logits) @ table (SSD-
    LM, section 3.5); a sure distribution and its token are the same input. The answer is read off
    the mean of all positions, so that each of them is pushed. It reads the block alone: no prompt,
    no time.
    """

    log_prior: Tensor
    config_class = SimplexClassifierConfig
    base_model_prefix = "encoder"
    _supports_sdpa = True

    def __init__(self, config: SimplexClassifierConfig):
        """Build from a configuration; weights are random until loaded."""
        super().__init__(config)
        self.encoder = AutoModel.from_config(config.backbone)
        if getattr(self.encoder, "pooler", None) is not None:
            self.encoder.pooler = None
        self.head = nn.Linear(config.backbone.hidden_size, len(config.labels))
        flat = torch.full((config.vocab_size,), -math.log(config.vocab_size))
        self.register_buffer("log_prior", flat)
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if module is self:
            init.constant_(self.log_prior, -math.log(len(self.log_prior)))

    def get_input_embeddings(self) -> nn.Embedding:
        """The word embedding, which reads tokens and distributions."""
        embedding: nn.Embedding = self.encoder.get_input_embeddings()
        return embedding

    def embed(self, text: Tensor | Bag) -> Tensor:
        """Expected embeddings (batch, positions, width); `text` as in `forward`."""
        table = self.get_input_embeddings().weight
        if isinstance(text, Bag):
            mean = self.log_prior.softmax(-1).to(table.dtype) @ table
            return embed_bag(text, table, mean)
        if text.is_floating_point():
            return text.to(table.dtype) @ table
        return nn.functional.embedding(text, table)

    def forward(self, text: Tensor | Bag) -> SequenceClassifierOutput:
        """Classify blocks of one length.

        Args:
            text: (batch, positions) int64 ids, (batch, positions, V) probabilities, or a bag, whose
                rest is spread by the prior.

        Returns:
            fp32 logits (batch, labels).
        """
        hidden = self.encoder(inputs_embeds=self.embed(text)).last_hidden_state
        return SequenceClassifierOutput(logits=self.head(hidden.mean(1)).float())


AutoConfig.register("simplex_classifier", SimplexClassifierConfig)
AutoModelForSequenceClassification.register(SimplexClassifierConfig, SimplexClassifier)
