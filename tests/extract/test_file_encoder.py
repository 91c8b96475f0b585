"""Promises of encoding single files: the numbers of an extraction, whatever a file does, and an end when asked."""

import gc
import os
import subprocess
import sys
import threading
import time
import weakref
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from poise.errors import CancelledError, EncoderError, ExtractSettingsError, MediaError, NotReadableNowError
from poise.extract.clips import ClipSettings
from poise.extract.file_encoder import FileEncoder, encode_file
from poise.extract.parts import Part
from poise.extract.turns import Teller, one_at_a_time
from poise.extract.workers.source import DecodeLimits, Reading
from tests.extract.plain_encoders import Deadly, Grey, Loudness, Moody
from tests.extract.test_workers import children, even, python_that_dies
from tests.media import tone, write_sound, write_video

ROOT = Path(__file__).parents[2]
CLIPS = ClipSettings(window_s=2, hop_s=2, min_tail_s=1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A recording of grey, one that turns white in its second clip, and one without sound."""
    folder = tmp_path_factory.mktemp("single")
    write_video(folder / "grey.mp4", seconds=6, fps=10, picture=even(90))
    white = lambda _, t: np.full((1, 1, 3), 255 if t > 3 else 90, np.uint8)  # noqa: E731
    write_video(folder / "white.mp4", seconds=6, fps=10, picture=white)
    write_video(folder / "mute.mp4", seconds=4, fps=10, picture=even(90), sound=None)
    return folder


def encoder(video=None, audio=None, **options):
    limits = DecodeLimits(stall_s=options.pop("stall_s", 60))
    encoders = {"video": video or Grey(), "audio": audio or Loudness()}
    return FileEncoder(encoders, Reading(clips=CLIPS, decoder="pyav", limits=limits), **options)


class Slow(Loudness):
    """Takes a second for each clip, in a lane of its own."""

    name, batch_size, side_by_side = "slow", 1, True

    def encode(self, clips):
        for _ in range(100):
            time.sleep(0.01)
        return super().encode(clips)


class Mistaken(Loudness):
    """Makes a new error of each clip."""

    def encode(self, clips):
        raise ValueError(f"{len(clips)} clips")


FORKED = """
import os, signal, sys, threading
from pathlib import Path
from tests.extract.test_file_encoder import encoder

file = Path(sys.argv[1])
one = encoder(workers=int(sys.argv[2]))
expected = one.encode(file).modalities["video"].embeddings.tolist()
held = threading.Event()

def wait(*_):
    held.set()
    threading.Event().wait(1)

def check(what):
    assert what.encode(file).modalities["video"].embeddings.tolist() == expected

def in_child(work):
    child = os.fork()
    if child == 0:
        signal.alarm(60)
        try:
            work()
        except BaseException as error:
            print(repr(error), file=sys.stderr, flush=True)
            os._exit(1)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0

in_child(lambda: (check(one), one.close()))
in_child(one.close)
in_child(lambda: check(encoder()))
at_work = threading.Thread(target=one.encode, args=(file,), kwargs={"progress": wait})
at_work.start()
held.wait()
in_child(lambda: check(one))
at_work.join()
check(one)
one.close()
"""

LOADED = """
import os, signal, sys
import torch
from tests.extract.plain_encoders import Grey
from tests.extract.test_file_encoder import encoder

torch.set_num_threads(2)

class Large(Grey):
    def load(self):
        self.sum = torch.softmax(torch.ones(1000, 1000), 1).sum()

encoder(video=Large(), workers=0).load()
if os.fork() == 0:
    signal.alarm(60)
    one = encoder(video=Large(), workers=0)
    one.load()
    os._exit(0 if len(one.encode(sys.argv[1]).modalities["video"].embeddings) == 3 else 1)
sys.exit(os.WEXITSTATUS(status) if os.WIFEXITED(status := os.wait()[1]) else 9)
"""


class TestNumbers:
    @pytest.mark.parametrize("workers", [0, 1, 2])
    def test_processes_change_no_number(self, folder, workers):
        """Decoded here, in one process or in one for each modality: the same bits."""
        expected = encode_file(folder / "white.mp4", [Grey(), Loudness()], clips=CLIPS)
        with encoder(workers=workers) as one:
            for _ in range(2):
                found = one.encode(folder / "white.mp4")
                for modality in ("video", "audio"):
                    np.testing.assert_array_equal(found.modalities[modality].embeddings, expected[modality].embeddings)
                    np.testing.assert_array_equal(found.modalities[modality].clip_times, expected[modality].clip_times)
                assert found.duration_s == pytest.approx(6, abs=0.05)
                assert {"decode", "encode"} <= found.seconds.keys()

    def test_a_missing_modality_is_empty_with_its_reason(self, folder):
        """And the other one is there."""
        with encoder() as one:
            found = one.encode(folder / "mute.mp4").modalities
        assert len(found["video"].embeddings) == 2
        assert found["audio"].embeddings.shape == (0, 2)
        assert found["audio"].reason.startswith("no sound")

    def test_a_clip_that_cannot_be_encoded_costs_its_modality(self, folder):
        """As in an extraction; the error is kept."""
        with encoder(audio=Moody(ValueError("too loud"))) as one:
            found = one.encode(folder / "grey.mp4")
        assert len(found.modalities["video"].embeddings) == 3
        assert found.modalities["audio"].outcome == "failed"
        assert found.modalities["audio"].reason == "ValueError: too loud"
        assert isinstance(found.failures["audio"], ValueError)


class TestProcesses:
    def test_a_file_that_kills_its_decoder_costs_its_modality_alone(self, folder):
        """Of that file; the next one is decoded by a new process."""
        with encoder(video=Deadly("crash"), workers=1) as one:
            found = one.encode(folder / "white.mp4").modalities
            assert "SIGSEGV" in found["video"].reason
            assert len(found["audio"].embeddings) == 3
            assert len(one.encode(folder / "grey.mp4").modalities["video"].embeddings) == 3

    def test_a_file_that_hangs_its_decoder_is_given_up(self, folder):
        """After the time that the limits allow."""
        with encoder(video=Deadly("hang"), workers=1, stall_s=1) as one:
            assert "no sign of life" in one.encode(folder / "white.mp4").modalities["video"].reason

    def test_processes_stay_from_file_to_file_and_end_with_the_encoder(self, folder):
        """None is started anew, and none is left behind."""
        one = encoder(workers=1)
        one.encode(folder / "grey.mp4")
        first = children(os.getpid())
        one.encode(folder / "mute.mp4")
        assert children(os.getpid()) == first
        assert len(first) == 1
        one.close()
        assert children(os.getpid()) == []
        one.encode(folder / "grey.mp4")
        assert len(children(os.getpid())) == 1
        del one
        gc.collect()
        ends_at = time.monotonic() + 5
        while children(os.getpid()) and time.monotonic() < ends_at:
            time.sleep(0.05)
        assert children(os.getpid()) == []

    def test_an_error_keeps_no_encoder_alive(self, folder):
        """Neither one of a file nor one of a clip, which know the frames that they came through."""
        for audio, name in ((Mistaken(), "grey.mp4"), (Loudness(), "nowhere.mp4")):
            one = encoder(audio=audio, workers=0)
            with suppress(MediaError):
                one.encode(folder / name)
            gone = weakref.ref(one)
            del one
            gc.collect()
            assert gone() is None

    def test_processes_that_never_start_are_one_error(self, folder, tmp_path, monkeypatch):
        """It is the machine's, not the file's."""
        monkeypatch.setattr(sys, "executable", python_that_dies(tmp_path / "python", once=False))
        with encoder(workers=1) as one, pytest.raises(EncoderError, match="does not start"):
            one.encode(folder / "grey.mp4")

    def test_impossible_settings_are_refused(self):
        """Before anything is decoded."""
        with pytest.raises(ExtractSettingsError, match="workers is -1"):
            encoder(workers=-1)
        short = Loudness()
        short.max_clip_s = 1.0
        with pytest.raises(ExtractSettingsError, match="--window 1"):
            encoder(audio=short)


class TestFiles:
    def test_what_is_no_media_file_is_refused(self, folder, tmp_path):
        """Text, a folder, and what begins like a film and is none."""
        (tmp_path / "text.mp4").write_text("no film")
        (tmp_path / "cut.mp4").write_bytes((folder / "grey.mp4").read_bytes()[:600])
        with encoder(workers=1) as one:
            for name, message in [("text.mp4", "not a media file"), ("cut.mp4", "cannot be opened"), (".", "a folder")]:
                with pytest.raises(MediaError, match=message):
                    one.encode(tmp_path / name)

    def test_a_file_that_goes_away_is_an_error(self, tmp_path):
        """Even while another file is worked on."""
        path = write_sound(tmp_path / "gone.wav", tone(3, sample_rate_hz=16_000))
        remove = lambda *_: path.unlink(missing_ok=True)  # noqa: E731
        with encoder(workers=0) as one, holding_the_turn(), pytest.raises(NotReadableNowError, match="went away"):
            one.encode(path, progress=remove)

    def test_what_a_decoder_raises_is_told_of_the_file(self, folder):
        """In one line, as an error of the file."""
        part = Part.of(folder / "grey.mp4", Grey(), threading.Event())
        with pytest.raises(MediaError, match=r"grey\.mp4 cannot be read: RuntimeError: odd"):
            part.end(RuntimeError("odd"))


class holding_the_turn:  # noqa: N801  used as a function
    """While another thread works on a file for half a second."""

    def __enter__(self):
        taken = threading.Event()
        self.thread = threading.Thread(target=self.hold, args=(taken,))
        self.thread.start()
        taken.wait()

    def hold(self, taken):
        with one_at_a_time(Teller(Path("another.mp4"), None, None)):
            taken.set()
            time.sleep(0.5)

    def __exit__(self, *_):
        self.thread.join()


class TestAnApplication:
    def test_progress_reaches_the_number_of_clips(self, folder):
        """It never goes back, and a modality that is missing is not waited for."""
        for name, n_clips in [("grey.mp4", 6), ("mute.mp4", 2)]:
            told = []
            with encoder() as one:
                one.encode(folder / name, progress=lambda *state: told.append(state))  # noqa: B023
            assert [state[2] for state in told[:2]] == ["loading", "decoding"]
            done = [state[0] for state in told]
            assert done == sorted(done)
            assert done[-1] == n_clips
            assert told[-1][1] >= n_clips

    def test_a_file_that_nobody_wants_any_more_is_given_up_at_once(self, folder):
        """In the middle of decoding, and in the middle of a clip; the next file is encoded all the same."""
        for slow in ({"video": Deadly("hang")}, {"audio": Slow()}):
            with encoder(**slow, workers=1) as one:
                began = time.monotonic()
                with pytest.raises(CancelledError, match=r"white\.mp4: cancelled"):
                    one.encode(folder / "white.mp4", cancelled=lambda: time.monotonic() - began > 0.8)  # noqa: B023
                assert time.monotonic() - began < 10
                assert len(one.encode(folder / "grey.mp4").modalities["audio"].embeddings) == 3

    def test_waiting_for_another_file_can_be_given_up(self, folder):
        """And is told as waiting."""
        told = []
        with encoder() as one, holding_the_turn(), pytest.raises(CancelledError):
            one.encode(folder / "grey.mp4", progress=lambda *s: told.append(s), cancelled=lambda: bool(told))
        assert told == [(0, 0, "waiting")]

    def test_an_encoder_that_is_closed_over_a_file_gives_it_up(self, folder):
        """With an error that says so; it can be used again."""
        with encoder(workers=1) as one:
            close = lambda _done, _total, what: one.close() if what == "decoding" else None  # noqa: E731
            with pytest.raises(CancelledError, match=r"grey\.mp4: the encoder was closed"):
                one.encode(folder / "grey.mp4", progress=close)
            assert len(one.encode(folder / "grey.mp4").modalities["video"].embeddings) == 3

    def test_a_callback_that_fails_is_heard_and_leaves_nothing_behind(self, folder):
        """The next file is encoded."""

        def fail(*_):
            raise ZeroDivisionError

        with encoder(workers=1) as one:
            for callback in ({"progress": fail}, {"cancelled": fail}):
                with pytest.raises(ZeroDivisionError):
                    one.encode(folder / "grey.mp4", **callback)
            assert len(one.encode(folder / "grey.mp4").modalities["video"].embeddings) == 3

    def test_a_callback_that_asks_for_another_file_is_told_so(self, folder):
        """It would wait for itself; afterwards all goes on."""
        for workers in (0, 1):
            with encoder(workers=workers) as one, encoder(workers=0) as other:
                for what in (one, other):
                    again = lambda *_, what=what: what.encode(folder / "mute.mp4")  # noqa: E731
                    with pytest.raises(EncoderError, match=r"mute\.mp4: asked for in a callback .* after the other"):
                        one.encode(folder / "grey.mp4", progress=again)
                assert len(one.encode(folder / "grey.mp4").modalities["video"].embeddings) == 3

    @pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork there")
    @pytest.mark.parametrize("workers", [0, 2])
    def test_a_forked_process_reads_files_of_its_own(self, folder, workers):
        """With what was made before, or anew, and also while another thread was at work; its parent goes on as ever."""
        done = subprocess.run(
            [sys.executable, "-c", FORKED, str(folder / "white.mp4"), str(workers)],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stderr=subprocess.PIPE,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == 0, done.stderr

    @pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork there")
    def test_a_forked_process_loads_weights_though_its_parent_did(self, folder):
        """Where torch worked with several threads before, they are not waited for."""
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        command = [sys.executable, "-c", LOADED, str(folder / "white.mp4")]
        assert subprocess.run(command, cwd=ROOT, env=environment, timeout=300, check=False).returncode == 0

    def test_threads_take_turns(self, folder):
        """Each gets its own file's numbers."""
        names = ["grey.mp4", "white.mp4", "mute.mp4", "white.mp4"]
        found = {}
        with encoder() as one:
            work = lambda place: found.update({place: one.encode(folder / names[place])})  # noqa: E731
            threads = [threading.Thread(target=work, args=(place,)) for place in range(4)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        for place, name in enumerate(names):
            expected = encode_file(folder / name, [Grey(), Loudness()], clips=CLIPS)
            np.testing.assert_array_equal(found[place].modalities["video"].embeddings, expected["video"].embeddings)
