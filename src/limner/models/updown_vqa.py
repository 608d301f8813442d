"""Up-Down visual question answering: attention over image regions, driven by the question.

    tokens (B, T) -> embedding -> GRU -> q (B, H) ---------------+------------> f_q --+
                                         |                                            * -> classifier -> logits (B, A)
    feats (I, R, D) ------> attention(regions, q) -> sum a_k v_k = v (B, D) --> f_v --+

Anderson et al. 2018, "Bottom-Up and Top-Down Attention for Image Captioning and Visual Question Answering", section
3.3; Teney et al. 2018, "Tips and Tricks for Visual Question Answering" (two-stream classifier, soft scores);
bottom-up-attention-vqa by Hengyuan Hu, Alex Xiao and Henry Huang (product attention, ReLU, weight normalisation).

Shapes: I images, R regions, D features, B questions, T tokens, H hidden, A answers, G glimpses.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from limner.errors import UserError
from limner.models.attention import ConcatAttention, ProductAttention
from limner.models.layers import MLP, Layer, set_weight, width
from limner.models.question import QuestionEncoder
from limner.models.regions import RegionBatch

ATTENTION = ("product", "concat", "mean", "none")
CLASSIFIERS = ("single", "two_stream")


class VQAOutput(NamedTuple):
    """`logits (B, A)` before the sigmoid; `attention (B, R)`, the mean over glimpses, zero on padded regions."""

    logits: Tensor
    attention: Tensor


class UpDownVQA(nn.Module):
    """The Up-Down VQA model. The defaults are the published code's (`PUBLISHED` below); `PAPER` is the paper's.

    Args:
        words: number of words; token id `words` is the pad.
        answers: A. feature_dim: D (may be 0 with attention="none").
        embed_dim, hidden: sizes of a word and of everything between question and classifier.
        encoder, layers, bidirectional, encode_padding, question_length: see `QuestionEncoder`.
        activation: "relu", "gated_tanh" (paper, eq. 12-14), "elu", "glu" or "tanh", in every non-linear layer.
        attention: "product" (published code), "concat" (paper, eq. 15), "mean" (the average of the regions) or
            "none" (the question alone; the image is not looked at).
        glimpses: attention maps; their pooled features are concatenated.
        normalize_features: scale each region's features to length 1 first.
        weight_norm: weight normalisation with one scale for each layer.
        classifier: "single" (one hidden layer of `classifier_hidden`) or "two_stream" (a text stream of `embed_dim`
            and an image stream of `image_answer_dim`, added; rows can start from answer vectors, `init_answers`).
        dropout_embedding, dropout_attention, dropout_classifier: on word embeddings, on the joint of region and
            question inside the attention, and before the output layer.

    Raises:
        UserError: for a choice that is not known or sizes that cannot be.
    """

    # for `limner.weights.remap`: layers with a row for each word, for each answer
    VOCABULARY = {  # noqa: RUF012
        "words": ("question.words",),
        "answers": ("classifier.output", "classifier.text.output", "classifier.image.output"),
    }

    def __init__(
        self,
        *,
        words: int,
        answers: int,
        feature_dim: int,
        embed_dim: int = 300,
        hidden: int = 1024,
        encoder: str = "gru",
        layers: int = 1,
        bidirectional: bool = False,
        encode_padding: bool = True,
        question_length: int = 14,
        activation: str = "relu",
        attention: str = "product",
        glimpses: int = 1,
        normalize_features: bool = False,
        weight_norm: bool = True,
        classifier: str = "single",
        classifier_hidden: int = 2048,
        image_answer_dim: int = 2048,
        dropout_embedding: float = 0.0,
        dropout_attention: float = 0.2,
        dropout_classifier: float = 0.5,
    ) -> None:
        super().__init__()
        _check(dict(locals()))
        style: dict[str, Any] = {"activation": activation, "weight_norm": weight_norm}
        self.question = QuestionEncoder(
            words=words,
            embed_dim=embed_dim,
            hidden=hidden,
            encoder=encoder,
            layers=layers,
            bidirectional=bidirectional,
            encode_padding=encode_padding,
            question_length=question_length,
            dropout=dropout_embedding,
        )
        self.kind, self.normalize_features = attention, normalize_features
        if attention in ("product", "concat"):
            self.attention = (ProductAttention if attention == "product" else ConcatAttention)(
                feature_dim=feature_dim,
                question_dim=self.question.outputs,
                hidden=hidden,
                glimpses=glimpses,
                dropout=dropout_attention,
                **style,
            )
        self.question_net = Layer(self.question.outputs, hidden, **style)
        if attention != "none":
            self.region_net = Layer(feature_dim * glimpses, hidden, **style)
        style["dropout"] = dropout_classifier
        self.classifier: MLP | TwoStream = (
            MLP(hidden, classifier_hidden, answers, **style)
            if classifier == "single"
            else TwoStream(hidden, embed_dim, image_answer_dim, answers, **style)
        )

    def forward(self, feats: Tensor, mask: Tensor, image: Tensor, tokens: Tensor) -> VQAOutput:
        """Answer questions.

        Args:
            feats: `(I, R, D)` float16 or float32; padded regions may hold any finite value.
            mask: `(I, R)` bool, True where a region is real.
            image: `(B,)` int64, the row of each question's image in `feats`.
            tokens: `(B, T)` int64, padded on the right with `words`.
        """
        return self.answer(feats, mask, image, self.encode_questions(tokens))

    def encode_questions(self, tokens: Tensor) -> Tensor:
        """Question vectors `(B, H)`. Evaluation may encode each distinct question once and call `answer`."""
        return self.question(tokens)

    def answer(self, feats: Tensor, mask: Tensor, image: Tensor, question: Tensor) -> VQAOutput:
        """As `forward`, with question vectors `(B, H)` from `encode_questions` in the place of tokens."""
        joint = self.question_net(question)
        if self.kind == "none":
            return VQAOutput(self.classifier(joint), question.new_zeros(len(question), mask.shape[1]))
        regions = RegionBatch(feats, mask, image, self._dtype(feats), self.normalize_features)
        if self.kind == "mean":  # one pooled vector an image, whatever is asked about it
            weights = mask / mask.sum(1, keepdim=True).clamp(min=1)  # [i, r]
            pooled = regions.pool_images(weights.to(regions.dtype).unsqueeze(1)).squeeze(1)
            return VQAOutput(self.classifier(joint * self.region_net(pooled)[image]), weights[image])
        weights = self.attention(regions, question)  # [b, g, r]
        pooled = regions.pool(weights).flatten(1)
        return VQAOutput(self.classifier(joint * self.region_net(pooled)), weights.mean(1))

    def _dtype(self, feats: Tensor) -> torch.dtype:
        """The type to compute in: autocast's, else that of the weights. Half-precision features are only a store."""
        if torch.is_autocast_enabled(feats.device.type):
            return torch.get_autocast_dtype(feats.device.type)
        return self.question.words.weight.dtype

    @torch.no_grad()
    def init_words(self, matrix: Tensor) -> None:
        """Start the word embedding from `matrix (words, embed_dim)`, for example GloVe. The pad stays zero."""
        rows = self.question.words.weight[:-1]
        matrix = torch.as_tensor(matrix)
        if tuple(matrix.shape) != tuple(rows.shape):
            raise UserError(f"word vectors: found shape {tuple(matrix.shape)}, expected {tuple(rows.shape)}")
        rows.copy_(matrix)

    def init_answers(self, text: Tensor | None = None, image: Tensor | None = None) -> None:
        """Start the output rows of the two streams (Teney et al. 2018).

        Args:
            text: `(A, embed_dim)`, for example the mean GloVe vector of each answer's words.
            image: `(A, image_answer_dim)`, for example mean ResNet features of pictures of each answer.

        Raises:
            UserError: if the classifier is not "two_stream" or a shape is wrong.
        """
        if not isinstance(self.classifier, TwoStream):
            raise UserError("answer vectors need classifier=two_stream: this model has classifier=single")
        for stream, matrix in ((self.classifier.text, text), (self.classifier.image, image)):
            if matrix is not None:
                set_weight(stream.output, torch.as_tensor(matrix))


class TwoStream(nn.Module):
    """W_t f_t(h) + W_i f_i(h) (Teney et al. 2018): one stream the size of word vectors, one of image features."""

    def __init__(self, hidden: int, text: int, image: int, answers: int, **style) -> None:
        super().__init__()
        self.text = MLP(hidden, text, answers, **style)
        self.image = MLP(hidden, image, answers, **style)

    def forward(self, joint: Tensor) -> Tensor:
        return self.text(joint) + self.image(joint)


def _check(options: dict) -> None:
    """Raise ONE error that names every option that cannot be."""
    wrong = []
    for key, choices in (("attention", ATTENTION), ("classifier", CLASSIFIERS)):
        if options[key] not in choices:
            wrong.append(f"{key}={options[key]!r} (choose one of {', '.join(choices)})")
    sizes = ["words", "answers", "embed_dim", "hidden", "layers", "question_length", "glimpses"]
    sizes += ["classifier_hidden"] if options["classifier"] == "single" else ["image_answer_dim"]
    sizes += ["feature_dim"] if options["attention"] != "none" else []
    wrong += [f"{key}={options[key]!r} (must be 1 or more)" for key in sizes if not options[key] >= 1]
    for key in ("dropout_embedding", "dropout_attention", "dropout_classifier"):
        if not 0 <= options[key] < 1:
            wrong.append(f"{key}={options[key]!r} (must be at least 0 and less than 1)")
    if options["glimpses"] > 1 and options["attention"] in ("mean", "none"):
        wrong.append(f"glimpses={options['glimpses']} (attention={options['attention']} has no glimpses: set 1)")
    if wrong:
        raise UserError(f"model: {'; '.join(wrong)}")
    width(options["activation"])


# the settings of the two sources, as differences from each other: keyword arguments of UpDownVQA
PUBLISHED = {
    "hidden": 1024,
    "activation": "relu",
    "attention": "product",
    "weight_norm": True,
    "classifier": "single",
    "dropout_attention": 0.2,
    "dropout_classifier": 0.5,
}
PAPER = {
    "hidden": 512,
    "activation": "gated_tanh",
    "attention": "concat",
    "weight_norm": False,
    "classifier": "two_stream",
    "dropout_attention": 0.0,
    "dropout_classifier": 0.0,
}
