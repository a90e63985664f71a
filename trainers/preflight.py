"""The preflight: one round in small on a base, through the very code of a run, before the run begins.

Everything is done once with two records: SFT, generation, judging, DPO, saving and loading again. What a library cannot
do with this architecture, and what would be wrong without a word, is found here and not after hours.
"""

from __future__ import annotations

import json
import math
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, cast

from selfreward_bench.bases.files import architecture_of, quantisation_of, read_config
from selfreward_bench.bases.findings import Finding, note, refusal, warning
from selfreward_bench.config import JudgeConfig, RunConfig
from selfreward_bench.engines import open_engine
from selfreward_bench.engines.base import Engine, GenerationRequest
from selfreward_bench.engines.templates import of_run
from selfreward_bench.errors import ConfigError, SrbenchError, first_line
from selfreward_bench.judges.pointwise import JudgeItem, PointwiseJudge
from selfreward_bench.progress import Relayed, Reporter, Silent, Tell
from selfreward_bench.storage.adapters import parts
from selfreward_bench.storage.fingerprint import weights_fingerprint
from selfreward_bench.types import Completion, Example, Message, PreferencePair
from trainers.checkpoints import ModelCard, logit_probe, quiet_libraries, save_checkpoint
from trainers.dpo import check_first_step, first_loss_tolerance
from trainers.isolation import run_training
from trainers.probes import base_fault, head_error, read_probes
from trainers.prompts import round_requests
from trainers.roles import helped

__all__ = ["STEPS", "preflight"]

STEPS: Final = 6  # how many a whole preflight has
_TOKENS: Final = 16  # of an answer
_TOLERANCE: Final = 1e-2  # of the largest logit, in float32; what is wrong is far beyond it
_HALF_TOLERANCE: Final = 0.1  # in bfloat16 and float16, where rounding alone may send a token to another expert
_LONGEST_PROBE: Final = 4608  # tokens
_RATE: Final = 1e-4  # moves weights by more than bfloat16 rounds away, whatever the recipe's own rate
_THOUGHT: Final = "<think>\nIt has to be red.\n</think>\n\n"
_NOT_SERVED: Final = (
    "engine.urls: no server serves the models that this trial makes, so they were trained and not asked. Of the base "
    "too, nothing was generated and judged."
)
_QUESTIONS: Final = ("Name a red food.", "Say in one sentence why it rains.")
_ANSWERS: Final = ("A red apple.", "Water rises as vapour, cools in the clouds and falls as rain.")


def preflight(
    base: Path, config: RunConfig, room: Path, step: Callable[[], object] = lambda: None, tell: Tell = lambda text: None
) -> tuple[list[Finding], dict[str, float]]:
    """Trains one round in small.

    Args:
        room: a directory for what is made; it is deleted at the end.
        step: called after each of ``STEPS`` steps.
        tell: is told what launched trainings have to say, such as that nothing is heard of their processes.

    Returns:
        What was found (a refusal ends it), and what was measured: ``mass`` of the grades where they can be forced.
    """
    flight = _Flight(base, config, room, Relayed(tell) if config.train.launch else Silent())
    shutil.rmtree(room, ignore_errors=True)
    try:
        for part in (flight.base_alone, flight.ask, flight.judge, flight.tune, flight.prefer, flight.ask_again):
            part()
            step()
    except _StoppedError:
        pass
    finally:
        flight.close()
        shutil.rmtree(room, ignore_errors=True)
    return flight.findings, flight.measured


class _StoppedError(Exception):
    """A step failed; its finding is there."""


@dataclass
class _Flight:
    base: Path
    config: RunConfig
    room: Path
    reporter: Reporter
    findings: list[Finding] = field(default_factory=list)
    measured: dict[str, float] = field(default_factory=dict)
    answers: list[Completion] = field(default_factory=list)
    thinks: bool = False
    _engine: Engine | None = None

    # ---- the steps -------------------------------------------------------------------------------------------------

    def base_alone(self) -> None:
        """The base as training loads it: it sees no later token, and saved and loaded again it is the same."""
        from selfreward_bench.engines.agreement import future_error, padding_error, training_error
        from trainers.bases import load_model
        from trainers.rendering import load_tokenizer

        trusted, date = self.config.engine.trust_remote_code, self.config.engine.date
        with self._step("loading and saving the base"):
            tokenizer = load_tokenizer(
                self.base,
                default_template=True,
                chat_template=self._template(self.base),
                trust_remote_code=trusted,
                date=date,
            )
            self.thinks = "think" in str(tokenizer.chat_template)
            if self.config.train.sharding != "none":
                return  # this process need not be able to hold it: those that train look at it (``tune``)
            kernel = self.config.engine.attn_implementation
            loaded = load_model(self.base, dropout=0.0, trust_remote_code=trusted, attn_implementation=kernel)
            model = loaded.model
            self._refuse_untrainable(future_error(model), padding_error(model), training_error(model))
            with self._step("TRL's output head"):
                self._refuse_untrainable(0.0, 0.0, 0.0, head_error(model))
            if quantisation_of(vars(loaded.config)):
                return  # of quantised weights no checkpoint is saved, but adapters beside them (``tune``)
            before = logit_probe(model)
            model.config, model.generation_config = loaded.config, loaded.generation
            card = ModelCard(name="copy", parent="M0", parent_fingerprint="", stage="copy", recipe={}, counts={})
            save_checkpoint(model, tokenizer, self.room / "copy", card)
            del loaded, model
            after = logit_probe(self.room / "copy", trust_remote_code=trusted)
            shutil.rmtree(self.room / "copy")
            if max(abs(a - b) for a, b in zip(before, after, strict=True)) > _TOLERANCE:
                self._refuse("Saved and loaded again the base computes something else: some of its weights get lost.")

    def _refuse_untrainable(self, future: float, padding: float, training: float, head: float = 0.0) -> None:
        found = {"future": future, "padding": padding, "training": training, "head": head}
        if fault := base_fault(self._architecture, read_config(parts(self.base).weights), **found):
            self._refuse(fault)

    def ask(self) -> None:
        """Answers of the base, and a new prompt as the recipe has it written."""
        with self._step("generating"):
            requests = [self._answer_request(i, q) for i, q in enumerate(_QUESTIONS)]
            written = [] if "prompts" in helped(self.config) else [self._new_prompt()]
            if self.config.engine.urls:
                self.findings.append(note("generating", _NOT_SERVED))
            self.answers = self._generate(self.base, [*requests, *written])
            self._refuse_if_the_engine_differs()

    def judge(self) -> None:
        """The judge's question about the answers, and how likely the model is to write a grade.

        Where another model judges, it need not be able to.
        """
        if "judgments" in helped(self.config) or not self.answers:
            return
        with self._step("judging"):
            questions = {f"q{i}": question for i, question in enumerate(_QUESTIONS)}
            items = [
                JudgeItem(c.prompt_id, c.index, _user(questions[c.prompt_id]), c.text)
                for c in self.answers
                if c.prompt_id in questions
            ]
            judge, mode = self._judge()
            judgments = [j for batch in judge.judge(items) for j in batch]
            if not judgments:
                self._refuse(
                    f"The judge's question ({self.config.judge.prompt}) about a short answer exceeds the model's "
                    "context. Take a shorter judge prompt (judge.prompt), or a model with more positions."
                )
            if mode == "expected":
                self._note_mass([j.raw for j in judgments])

    def tune(self) -> None:
        """One step of SFT."""
        answers = dict(zip(_QUESTIONS, _ANSWERS, strict=True))
        answers |= {_QUESTIONS[0]: f"{_THOUGHT}{_ANSWERS[0]}"} if self.thinks else {}
        examples = [
            Example(id=f"e{i}", prompt=_user(q), completion=(Message(role="assistant", content=a),))
            for i, (q, a) in enumerate(answers.items())
        ]
        with self._step("one step of SFT"):
            self.close()
            self._train("sft", self.base, examples, self.room / "M1")
            if probes := read_probes(self.room / "M1", weights_fingerprint(self.base)):
                self._refuse_untrainable(probes.future, probes.padding, probes.training, probes.head)

    def prefer(self) -> None:
        """Answers of the model after SFT, and one step of DPO on them, whose first loss must be ln 2."""
        with self._step("generating with the model after SFT"):
            found = self._generate(self._made("M1"), [self._answer_request(0, _QUESTIONS[0])])
            texts = [c.text for c in found] or [_ANSWERS[0]]
            self.close()
        sides = [(texts[0] or "Yes.", f"{texts[-1]} No."), (_ANSWERS[1], "Because.")]
        pairs = [_pair(f"q{i}", _QUESTIONS[i], *side) for i, side in enumerate(sides)]
        with self._step("one step of DPO"):
            result = self._train("dpo", self._made("M1"), pairs, self.room / "M2")
            tolerance = first_loss_tolerance(self._made("M1"), self.config.dpo, self.config.lora)
            loss = result.first_dpo_loss
            if loss is not None and abs(loss - math.log(2)) > tolerance:
                what = f"The first DPO loss of {self._architecture} is {loss:.6f}, not ln 2"
                self._refuse(f"{what}: trained, it computes something else than its reference did. Take another base.")
            check_first_step(result, tolerance, self.config.dpo)

    def ask_again(self) -> None:
        """The model after DPO answers, too."""
        with self._step("generating with the model after DPO"):
            self._generate(self._made("M2"), [self._answer_request(0, _QUESTIONS[0])])

    def close(self) -> None:
        """Gives the engine's memory back, before something is trained."""
        if self._engine:
            self._engine.close()
        self._engine = None

    # ---- what they are made of -------------------------------------------------------------------------------------

    @property
    def _architecture(self) -> str:
        return architecture_of(read_config(parts(self.base).weights))

    @contextmanager
    def _step(self, what: str) -> Iterator[None]:
        """Whatever goes wrong inside becomes a refusal that names the step."""
        try:
            with quiet_libraries():
                yield
        except _StoppedError:
            raise
        except SrbenchError as error:
            self._refuse(f"{self._architecture} fails at {what}: {self._in_a_line(error)}", error)
        except Exception as error:  # whatever a library cannot do with this architecture
            kind = type(error).__name__
            text = first_line(error).removeprefix(f"{kind}: ")
            self._refuse(f"{self._architecture} fails at {what}, in a library: {kind}: {text}", error)

    def _in_a_line(self, error: SrbenchError) -> str:
        """Without the files that it names in the room, which goes."""
        return " ".join(re.sub(rf" \({re.escape(str(self.room))}[^)]*\)", "", str(error)).split())

    def _refuse(self, text: str, cause: BaseException | None = None) -> None:
        self.findings.append(refusal("preflight", text))
        raise _StoppedError from cause

    def _train(self, kind: str, parent: Path, records: list[Any], directory: Path) -> Any:
        config = self.config.dpo if kind == "dpo" else self.config.sft
        one_step = {"batch_size": len(records), "micro_batch_size": None, "epochs": 1.0, "warmup_fraction": 0.0}
        rates = {"learning_rate": _RATE, "final_learning_rate": _RATE}
        small = config.model_copy(update=one_step | rates)
        result = run_training(
            kind,
            parent,
            records,
            small,
            directory,
            seed=self.config.seed,
            threads=self.config.threads,
            reporter=self.reporter,
            stage="M0/check",
            chat_template=self._template(parent),
            engine=self.config.engine,
            lora=self.config.lora,
            train=self.config.train,
        )
        if weights_fingerprint(result.checkpoint) == weights_fingerprint(parent):
            self._refuse(f"A step of {kind.upper()} leaves the weights of {self._architecture} as they are.")
        return result

    def _generate(self, model: Path, requests: list[GenerationRequest]) -> list[Completion]:
        """Answers; none where servers that are there would have to give them."""
        self.close()
        if self.config.engine.urls:
            return []
        self._engine = open_engine(
            self.config.engine, model, threads=self.config.threads, chat_template=self._template(model)
        )
        found = [c for batch in self._engine.generate(requests) for c in batch]
        if len(found) < sum(r.n for r in requests):
            lost = ", ".join(f"{name}: {why}" for name, why in self._engine.failures.items())
            self._refuse(f"It does not answer every question ({lost}). Its context may be too short for the recipe.")
        return found

    def _made(self, model: str) -> Path:
        return self.room / model / "checkpoint"

    def _template(self, model: Path) -> str | None:
        chosen = of_run(self.config, "M0" if model == self.base else "M1", model)
        return chosen.given if chosen else None

    def _answer_request(self, number: int, question: str) -> GenerationRequest:
        sampling = self.config.candidates.sampling
        return GenerationRequest(
            id=f"q{number}",
            prompt=_user(question),
            seeds=(0, 1),
            n=2,
            temperature=sampling.temperature,
            top_p=sampling.top_p,
            max_new_tokens=min(_TOKENS, sampling.max_new_tokens),
        )

    def _new_prompt(self) -> GenerationRequest:
        (request,) = round_requests(
            self.config.prompts, 1, 0, _QUESTIONS, (), run_seed=self.config.seed, stage="M0/check"
        )
        tokens = min(_TOKENS, request.max_new_tokens)
        return replace(request, n=1, seeds=request.seeds[:1], max_new_tokens=tokens)

    def _judge(self) -> tuple[PointwiseJudge, str]:
        """The recipe's judge with a grade forced, or where its prompt cannot do that with a short judgment."""
        sampling = self.config.judge.sampling
        small = sampling.model_copy(update={"max_new_tokens": min(_TOKENS, sampling.max_new_tokens)})
        config = self.config.judge.model_copy(update={"mode": "expected", "samples": 1, "sampling": small})
        try:
            return self._asked(config), "expected"
        except ConfigError:
            return self._asked(config.model_copy(update={"mode": "sampled"})), "sampled"

    def _asked(self, config: JudgeConfig) -> PointwiseJudge:
        return PointwiseJudge.from_config(
            cast(Engine, self._engine), config, run_seed=self.config.seed, stage="M0/check", checkpoint="preflight"
        )

    def _note_mass(self, raws: list[str]) -> None:
        masses = [json.loads(raw).get("mass", 0.0) for raw in raws]
        mass = float(f"{sum(masses) / len(masses):.3g}")
        self.measured["mass"] = mass
        text = f"Before it is trained the model writes a grade where one is asked for with probability {mass:g}."
        least = self.config.judge.min_mass
        if self.config.judge.mode != "sampled" and mass < least:
            text += f" SFT has to teach it: below judge.min_mass={least:g} a judgment counts as none."
        self.findings.append(note("judging", text))

    def _refuse_if_the_engine_differs(self) -> None:
        loaded = getattr(self._engine, "loaded", None)
        if loaded is None:
            return
        from selfreward_bench.engines.agreement import batch_error, cache_error

        exact = loaded.model.dtype.itemsize >= 4
        for tokens in _probe_lengths(loaded):
            for what, error in (("caching", cache_error(loaded, tokens)), ("batching", batch_error(loaded, tokens))):
                if error <= (_TOLERANCE if exact else _HALF_TOLERANCE):
                    continue
                text = f"At {tokens} tokens the engine's way of {what} changes the logits by {error:.2g} of the largest"
                if exact:
                    self._refuse(f"{text}: it does not suit this architecture.")
                self.findings.append(warning("preflight", f"{text}, in {loaded.model.dtype}."))


def _probe_lengths(loaded: Any) -> list[int]:
    """A short text, and one longer than the sliding window or chunk, where the model's context has room for it."""
    from selfreward_bench.engines.cache import window_of

    window = window_of(loaded.model.config)
    lengths = [_TOKENS] if not window else [_TOKENS, window + _TOKENS]
    longest = min(loaded.context or _LONGEST_PROBE, _LONGEST_PROBE)
    return [n for n in lengths if n <= longest]


def _user(text: str) -> tuple[Message, ...]:
    return (Message(role="user", content=text),)


def _pair(name: str, question: str, chosen: str, rejected: str) -> PreferencePair:
    return PreferencePair(
        prompt_id=name,
        prompt=_user(question),
        chosen=(Message(role="assistant", content=chosen),),
        rejected=(Message(role="assistant", content=rejected),),
        chosen_score=1.0,
        rejected_score=0.0,
        chosen_index=0,
        rejected_index=1,
    )
