"""The simplex diffusion language model: a transformers encoder that reads noisy simplexes at its
block positions.
"""

import math
from dataclasses import dataclass
from typing import Any, ClassVar, cast

import torch
from torch import Tensor, nn
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForMaskedLM,
    PretrainedConfig,
    PreTrainedModel,
)
from transformers import initialization as init
from transformers.models.auto.configuration_auto import CONFIG_MAPPING
from transformers.utils.generic import ModelOutput

from common.processes.simplex.schedule import PRIOR_CURVE, TimeWarp
from common.processes.simplex.settings import Reading, SelfConditioning
from common.processes.simplex.state import Bag, Evidence, ModelInput, NoiseForm, embed_bag

TIME_FEATURES = 64


class SimplexDiffusionConfig(PretrainedConfig):
    """Everything that two models must agree on, and the shape of this one.

    Args:
        backbone: configuration of the transformers model inside, with its `model_type`.
        simplex_value: K, the simplex value; states carry +K and -K.
        schedule: name of the noise schedule; "cosine" is the published one.
        noise_form: "extremes" or "dense".
        noise_m: the m of `extremes`, largest normals kept.
        noise_r: the r of `extremes`, rows that stand for the tail; the reading posterior has none.
        reading: "posterior" or "softmax", how this model reads the simplex.
        local_width: positions that the convolution before the encoder sees, odd; 0 for none.
        self_conditioning: "own" or "estimate", what the model was trained with.
        block_length: positions generated together, in tokens.
        template: version of the prompt template (see common/text/vocabulary.py).
        loss_curve: measured (t, denoising cross-entropy) pairs on validation text, ascending in t.
        tokenizer_sha256: SHA-256 of the vocabulary, hex.
    """

    model_type = "simplex_diffusion"
    sub_configs: ClassVar = {"backbone": AutoConfig}

    def __init__(
        self,
        backbone: dict[str, Any] | PretrainedConfig | None = None,
        simplex_value: float = 5.0,
        schedule: str = "cosine",
        noise_form: str = "extremes",
        noise_m: int = 128,
        noise_r: int = 32,
        reading: str = "softmax",
        local_width: int = 0,
        self_conditioning: str = "own",
        block_length: int = 64,
        template: str = "v1",
        loss_curve: list[list[float]] | None = None,
        tokenizer_sha256: str = "",
        **kwargs: Any,
    ):
        """See the class."""
        if backbone is None:
            backbone = {"model_type": "bert"}
        if isinstance(backbone, dict):
            backbone = CONFIG_MAPPING[backbone.get("model_type", "bert")](**backbone)
        self.backbone = backbone
        self.simplex_value = simplex_value
        self.schedule = schedule
        self.noise_form = noise_form
        self.noise_m = noise_m
        self.noise_r = noise_r
        self.reading = Reading(reading).value
        self.local_width = local_width
        self.self_conditioning = SelfConditioning(self_conditioning).value
        self.block_length = block_length
        self.template = template
        self.loss_curve = loss_curve or [list(point) for point in PRIOR_CURVE]
        self.tokenizer_sha256 = tokenizer_sha256
        super().__init__(**kwargs)

    @property
    def vocab_size(self) -> int:
        """V, rows of the embedding and of the logits."""
        return int(self.backbone.vocab_size)

    @property
    def max_positions(self) -> int:
        """Positions that the backbone can tell apart: prompt, finished blocks, block and suffix
        together.
        """
        return int(self.backbone.max_position_embeddings)

    @property
    def form(self) -> NoiseForm:
        """The noise form as the method's own type."""
        return NoiseForm(self.noise_form, self.noise_m, self.noise_r)

    @property
    def warp(self) -> TimeWarp:
        """Where steps are spent, from the measured loss curve."""
        return TimeWarp.from_curve([(t, loss) for t, loss in self.loss_curve])


@dataclass
class DenoisingOutput(ModelOutput):
    """What one denoising pass gives."""

    logits: Tensor | None = None
    """(batch, positions, V), fp32."""


class SimplexDiffusionLM(PreTrainedModel):
    """Predicts clean tokens of a block from its noisy simplex, the text around it, and the last
    prediction.

    The simplex is read through the word embedding, tied, without gradient through the noise (as
    TESS 2 does), then through a square map; time is added at block positions only (SSD-LM, section
    3.2). "No prediction yet" is zero.

    With the reading posterior the network sees the tokens' distribution given the state and a
    unigram prior, and the state's log-likelihood is added to its logits. softmax(x) puts only 13 %
    of its mass on the token at t = .3 (V = 15,000, K = 5), where Bayes' rule with word frequencies
    and nothing else has a loss of .9 nats: the network cannot win back from one mean embedding what
    the softmax hides.

    With a local width a convolution over neighbouring positions stands before the encoder. A model
    of a million parameters learns there within a few hundred steps what stands beside what; with
    attention alone it still knew only its topic's frequencies after thousands.
    """

    log_prior: Tensor | None
    config_class = SimplexDiffusionConfig
    base_model_prefix = "encoder"
    _supports_sdpa = True

    def __init__(self, config: SimplexDiffusionConfig):
        """Build from a configuration; weights are random until loaded."""
        super().__init__(config)
        self.encoder = AutoModel.from_config(config.backbone)
        if getattr(self.encoder, "pooler", None) is not None:
            self.encoder.pooler = None
        self._causal = any(getattr(m, "is_causal", False) for m in self.encoder.modules())
        width = config.backbone.hidden_size
        self.state_map = nn.Linear(width, width, bias=False)
        self.condition_map = nn.Linear(width, width, bias=False)
        if config.local_width:
            self.local_map = nn.Conv1d(
                width, width, config.local_width, padding=config.local_width // 2, bias=False
            )
        self.time_map = nn.Sequential(
            nn.Linear(TIME_FEATURES, width), nn.SiLU(), nn.Linear(width, width)
        )
        self.head_map = nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.LayerNorm(width))
        self.head_bias = nn.Parameter(torch.zeros(config.vocab_size))
        flat = torch.full((config.vocab_size,), -math.log(config.vocab_size))
        posterior = config.reading == Reading.POSTERIOR
        self.register_buffer("log_prior", flat if posterior else None)
        self._mean: tuple[int, Tensor] | None = None
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if module is self:
            init.eye_(self.state_map.weight)
            init.eye_(self.condition_map.weight)
            init.zeros_(cast(Tensor, self.time_map[2].weight))
            if self.config.local_width:
                init.zeros_(self.local_map.weight)
            init.zeros_(self.head_bias)
            if self.log_prior is not None:
                init.constant_(self.log_prior, -math.log(len(self.log_prior)))

    def get_input_embeddings(self) -> nn.Embedding:
        """The word embedding, which also reads simplexes and writes logits."""
        embedding: nn.Embedding = self.encoder.get_input_embeddings()
        return embedding

    def set_prior(self, log_prior: Tensor) -> None:
        """Fit the reading posterior to a corpus: (V,) log-probabilities of its tokens."""
        if self.log_prior is not None:
            self.log_prior.copy_(log_prior)
            self._mean = None

    def _mean_embedding(self, table: Tensor) -> Tensor:
        """What mass without an id embeds to: the mean row, by the prior where there is one."""
        version = table._version
        if self._mean is None or self._mean[0] != version or self._mean[1].device != table.device:
            prior = self.log_prior
            mean = table.mean(0) if prior is None else prior.softmax(-1).to(table.dtype) @ table
            self._mean = (version, mean)
        return self._mean[1]

    def embed(self, simplex: ModelInput) -> Tensor:
        """Expected embedding of a distribution: (batch, positions, width)."""
        table = self.get_input_embeddings().weight.detach()
        if isinstance(simplex, Evidence):
            assert self.log_prior is not None, "evidence is for the reading posterior"
            simplex = simplex.posterior(self.log_prior.float())
        if isinstance(simplex, Tensor):
            return simplex.to(table.dtype) @ table
        return embed_bag(simplex, table, self._mean_embedding(table))

    def forward(
        self,
        input_ids: Tensor,
        block_start: Tensor,
        simplex: ModelInput,
        t: Tensor,
        condition: Bag,
        attention_mask: Tensor | None = None,
        positions: Tensor | None = None,
        temperature: Tensor | None = None,
    ) -> DenoisingOutput:
        """One denoising pass.

        Args:
            input_ids: (batch, length) int64, the text around the block; ids at block positions
                are not read.
            block_start: (batch,) int64, index of the first block position of each row.
            simplex: the noisy simplex at the block positions.
            t: time in (0, 1]; (batch,), or (batch, block) for one of each position.
            condition: self-conditioning; `conditioning.nothing` for none.
            attention_mask: (batch, length) bool, False at padding; None when no row is padded.
            positions: (batch, block) bool, block positions whose logits are wanted; None for all.
            temperature: (batch,) fp32 above 0, what the network's logits are divided by; None for
                1. The state's likelihood is exact and keeps its weight: the logits are those of the
                tempered distribution of texts, given the state. Only without `positions`.

        Returns:
            fp32 logits (batch, block, V), or (chosen, V) where `positions` was given.
        """
        table = self.get_input_embeddings()
        embeds = table(input_ids)
        block = self.state_map(self.embed(simplex)) + self.condition_map(self.embed(condition))
        time = self._embed_time(t).to(block.dtype)
        block = block + (time if t.ndim == 2 else time.unsqueeze(1))
        index = block_start.unsqueeze(1) + torch.arange(block.shape[1], device=block.device)
        index = index.unsqueeze(-1).expand(-1, -1, block.shape[2])
        embeds = embeds.scatter(1, index, block.to(embeds.dtype))
        embeds = self._with_neighbours(embeds, attention_mask)
        mask = self._mask(attention_mask, embeds)
        hidden = self.encoder(inputs_embeds=embeds, attention_mask=mask).last_hidden_state
        hidden = hidden.gather(1, index)
        if positions is not None:
            hidden = hidden[positions]
        logits = nn.functional.linear(self.head_map(hidden), table.weight, self.head_bias)
        logits = logits.float()
        if temperature is not None:
            logits = logits / temperature.view(-1, 1, 1)
        if isinstance(simplex, Evidence):
            # Bayes' rule: what the network says is the prior of the text around, and the state's
            # likelihood is known exactly.
            logits = logits + simplex.rows(positions).dense(logits.shape[-1])
        return DenoisingOutput(logits=logits)

    def _with_neighbours(self, embeds: Tensor, attention_mask: Tensor | None) -> Tensor:
        """Each position with a linear map of the ones beside it; the text's ends see zeros."""
        if not self.config.local_width:
            return embeds
        if attention_mask is not None:
            embeds = embeds * attention_mask.unsqueeze(-1).to(embeds.dtype)
        beside: Tensor = self.local_map(embeds.transpose(1, 2)).transpose(1, 2)
        return embeds + beside

    def _mask(self, attention_mask: Tensor | None, embeds: Tensor) -> Tensor | None:
        """The mask in the encoder's form.

        A decoder makes its own causal mask unless it is given one of four dimensions.
        """
        if not self._causal:
            return None if attention_mask is None else attention_mask.long()
        rows, length = embeds.shape[:2]
        seen = embeds.new_ones(rows, length) if attention_mask is None else attention_mask
        hidden = ~seen.bool().view(rows, 1, 1, length).expand(-1, -1, length, -1)
        lowest = torch.finfo(embeds.dtype).min
        return embeds.new_zeros(hidden.shape).masked_fill(hidden, lowest)

    def _embed_time(self, t: Tensor) -> Tensor:
        angles = (
            t.float().unsqueeze(-1)
            * torch.pi
            * torch.arange(1, TIME_FEATURES // 2 + 1, device=t.device)
        )
        features = torch.cat((angles.sin(), angles.cos()), -1).to(self.head_bias.dtype)
        embedded: Tensor = self.time_map(features)
        return embedded


AutoConfig.register("simplex_diffusion", SimplexDiffusionConfig)
AutoModel.register(SimplexDiffusionConfig, SimplexDiffusionLM)
AutoModelForMaskedLM.register(SimplexDiffusionConfig, SimplexDiffusionLM)
