"""Promises of both engines that hold without a cluster: what is refused, how work is shared out and put in order."""

import dataclasses
import os
import pickle
import sys
import time

import numpy as np
import pytest

from poise.errors import ExtractSettingsError, MissingDependencyError
from poise.extract.assignments import Assignment, Found, stamp_of
from poise.extract.clips import ClipSettings
from poise.extract.encoders.base import PreparedClip
from poise.extract.encoders.motion import MotionEncoder
from poise.extract.encoders.prosody import ProsodyEncoder
from poise.extract.engines.cluster import ClusterSize, share_out
from poise.extract.engines.engine import Encoded, RowOver
from poise.extract.engines.local import LocalEngine
from poise.extract.fingerprint import build_spec
from poise.extract.jobs import Job
from poise.extract.pipeline import extract
from poise.extract.planning import PlannedRow
from poise.extract.reading import Notes
from poise.extract.run import Run
from poise.extract.workers.source import Reading
from poise.store import FeatureStore
from tests.extract.plain_encoders import Grey, Loudness
from tests.extract.test_workers import children
from tests.media import grey, tone, write_sound, write_video
from tests.store.features import manifest_of

CLIPS = ClipSettings(window_s=2, hop_s=2, min_tail_s=1)


class TestSettings:
    def test_an_engine_that_there_is_not_is_refused(self, tmp_path):
        """With those that there are."""
        with pytest.raises(ExtractSettingsError, match="Expected local or ray"):
            extract(manifest_of(tmp_path, "a.mp4"), FeatureStore.create(tmp_path / "s"), engine="dask")

    def test_a_cluster_decodes_in_processes_of_its_own(self, tmp_path):
        """There is no process of the caller's to decode in."""
        with pytest.raises(ExtractSettingsError, match="Expected 1 or more with the engine ray, as --workers"):
            extract(manifest_of(tmp_path, "a.mp4"), FeatureStore.create(tmp_path / "s"), engine="ray", workers=0)

    def test_a_gpu_of_a_cluster_has_no_number(self, tmp_path):
        """Ray gives them away."""
        with pytest.raises(ExtractSettingsError, match="'cuda:1', and on a cluster.* --device cuda"):
            extract(manifest_of(tmp_path, "a.mp4"), FeatureStore.create(tmp_path / "s"), engine="ray", device="cuda:1")

    def test_without_ray_the_package_to_install_is_named(self, tmp_path, monkeypatch):
        """Before anything is done."""
        monkeypatch.setitem(sys.modules, "ray", None)
        with pytest.raises(MissingDependencyError, match=r"pip install 'poise\[ray\]'"):
            extract(manifest_of(tmp_path, "a.mp4"), FeatureStore.create(tmp_path / "s"), engine="ray")


class TestSharingOut:
    def encoders(self, video_device="auto", audio_device="auto"):
        video, audio = Grey(), Loudness()
        video.wanted_device, audio.wanted_device = video_device, audio_device
        return {"video": video, "audio": audio}

    def test_every_gpu_has_one_actor_of_each_encoder(self):
        """They share it, and take no cores from decoding."""
        shares = share_out(self.encoders(), ClusterSize(n_cpus=64, n_gpus=4, n_nodes=2))
        assert [(share.n_actors, share.gpus, share.cpus) for share in shares.values()] == [(4, 0.5, 0), (4, 0.5, 0)]

    def test_one_encoder_has_a_gpu_for_itself(self):
        """Where the other one wants none."""
        shares = share_out(self.encoders(audio_device="cpu"), ClusterSize(n_cpus=64, n_gpus=4, n_nodes=2))
        assert (shares["video"].n_actors, shares["video"].gpus) == (4, 1)
        assert (shares["audio"].n_actors, shares["audio"].gpus) == (2, 0)

    def test_gpus_that_were_asked_for_are_waited_for(self):
        """Some clusters start nodes on demand; ``auto`` takes what there is."""
        size = ClusterSize(n_cpus=8, n_gpus=0, n_nodes=1)
        assert share_out(self.encoders("cuda", "auto"), size)["video"].gpus == 1
        assert share_out(self.encoders("cuda", "auto"), size)["audio"].gpus == 0

    @pytest.mark.parametrize(("n_cpus", "n_nodes"), [(1, 1), (2, 1), (2, 2), (9, 2), (0, 0)])
    def test_decoding_always_has_a_core_left(self, n_cpus, n_nodes):
        """Or the run would wait for itself; and no share is that of a decoding task, or both would become one stage."""
        shares = share_out(self.encoders(), ClusterSize(n_cpus=n_cpus, n_gpus=0, n_nodes=n_nodes))
        taken = sum(share.n_actors * share.cpus for share in shares.values())
        assert taken == 0 or taken <= n_cpus - 1
        assert all(share.cpus < 1 and share.n_actors >= 1 for share in shares.values())

    def test_encoders_without_weights_want_no_gpu(self):
        """They would only keep it from others."""
        encoders = {"video": MotionEncoder(), "audio": ProsodyEncoder()}
        shares = share_out(encoders, ClusterSize(n_cpus=8, n_gpus=1, n_nodes=1))
        assert [share.gpus for share in shares.values()] == [0, 0]


def job_of(*modalities, file="a.mp4"):
    encoders = {"video": Grey(), "audio": Loudness()}
    assignment = Assignment(file=file, stamp=(0, 0, 0), recipe="", modalities=modalities)
    return Job(row=3, path="a.mp4", key="k", assignment=assignment,
               encoders={modality: encoders[modality] for modality in modalities}, known={}, attempts=1)  # fmt: skip


def clip_of(number):
    nothing = np.empty(0)
    return PreparedClip(start_s=2.0 * number, end_s=2.0 * number + 2, data=nothing, times_s=nothing)


class TestWhatComesBack:
    """In whatever order, and twice after a crash."""

    @pytest.fixture(autouse=True)
    def modules(self):
        pytest.importorskip("pyarrow")

    def returns(self, job):
        from poise.extract.engines.ray_returns import Returns

        returns = Returns()
        returns.expect(PlannedRow(row=3, key="k", job=job), job)
        return returns

    def clip(self, modality, number, value=0.0):
        from poise.extract.engines.ray_rows import ClipOver, Row

        return Row(3, modality, number, ClipOver(clip_of(number), np.float32([value])))

    def over(self, modality, n_clips, error=None):
        from poise.extract.engines.ray_rows import ReadOver, Row

        found = Found(4.0, {} if error else {modality: Notes(n_clips=n_clips)})
        return Row(3, modality, -1, ReadOver(found, error))

    def test_clips_are_told_of_in_order_and_once(self):
        """The end of reading may come before them."""
        job = job_of("video")
        returns = self.returns(job)
        arrived = [self.clip("video", 1), self.over("video", 3), self.clip("video", 1), self.clip("video", 0),
                   self.clip("video", 0), self.over("video", 3)]  # fmt: skip
        told = [event for row in arrived for event in returns.take(row)]
        assert [event.clip.start_s for event in told if isinstance(event, Encoded)] == [0.0, 2.0]
        assert sum(isinstance(event, RowOver) for event in told) == 1
        assert (job.found.duration_s, job.found.notes["video"].n_clips) == (4.0, 3)

    def test_a_recording_is_read_when_both_its_modalities_are(self):
        """And the error is that of a local run, which reads the first one first."""
        job = job_of("audio", "video")
        returns = self.returns(job)
        assert list(returns.take(self.over("video", 1, ValueError("video")))) == []
        (over,) = returns.take(self.over("audio", 1, ValueError("audio")))
        assert str(over.error) == "audio"

    def test_what_never_came_is_missing(self):
        """Whole recordings and single clips."""
        job = job_of("video")
        returns = self.returns(job)
        assert returns.missing([job]) == ["a.mp4"]
        for _ in returns.take(self.over("video", 1)):
            job.is_read = True  # as the run does
        assert returns.missing([job]) == ["a.mp4"]
        list(returns.take(self.clip("video", 0)))
        assert returns.missing([job]) == []


class TestOnANode:
    """What runs there, run here."""

    @pytest.fixture(autouse=True)
    def impatient(self, monkeypatch):
        pytest.importorskip("pyarrow")
        monkeypatch.setattr("poise.extract.engines.ray_stages._KEPT_S", 0.2)

    def decode(self, path, **changes):
        from poise.extract.engines.ray_rows import Row, pack, unpack
        from poise.extract.engines.ray_stages import DecodeSetup, decode

        assignment = Assignment(file=path, stamp=stamp_of(path), recipe="", modalities=("audio",))
        setup = DecodeSetup(pickle.dumps({"audio": Loudness()}), Reading(clips=CLIPS, decoder="pyav"))
        row = Row(3, "audio", -1, dataclasses.replace(assignment, **changes))
        return [row for table in decode(pack([row]), setup) for row in unpack(table)]

    def test_a_file_that_a_node_does_not_see_is_no_fault_of_the_file(self, tmp_path):
        """The path and the node are named."""
        from poise.errors import NotReadableNowError

        path = write_sound(tmp_path / "a.wav", tone(2, sample_rate_hz=16_000))
        (over,) = self.decode(path, file=tmp_path / "elsewhere.wav")
        assert isinstance(over.content.error, NotReadableNowError)
        assert "elsewhere.wav cannot be read on " in str(over.content.error)

    def test_another_file_under_the_same_path_is_not_taken_for_it(self, tmp_path):
        """Size and time of the last change tell; inodes differ from node to node."""
        path = write_sound(tmp_path / "a.wav", tone(2, sample_rate_hz=16_000))
        inode, size, changed = stamp_of(path)
        (over,) = self.decode(path, stamp=(inode, size, changed + 1))
        assert "is another file on " in str(over.content.error)

    def test_a_file_is_decoded_there_whatever_its_inode(self, tmp_path):
        """Clips by number, and what was found of them at the end."""
        path = write_sound(tmp_path / "a.wav", tone(4, sample_rate_hz=16_000))
        *clips, over = self.decode(path, stamp=(7, *stamp_of(path)[1:]))
        while children(os.getpid()):
            time.sleep(0.05)
        assert [row.number for row in clips] == [0, 1]
        assert clips[1].content.data.shape == (32_000,)
        assert (over.number, over.content.error, over.content.found.notes["audio"].n_clips) == (-1, None, 2)

    def test_the_child_that_decodes_does_not_stay_for_ever(self, tmp_path):
        """It is kept from task to task, and ends when there is no more work, though the worker lives on."""
        path = write_sound(tmp_path / "a.wav", tone(2, sample_rate_hz=16_000))
        assert self.decode(path)[-1].content.error is None
        assert len(children(os.getpid())) == 1
        deadline = time.monotonic() + 20
        while children(os.getpid()):
            assert time.monotonic() < deadline
            time.sleep(0.05)


class Forgetful(LocalEngine):
    """Loses the first clip of the picture."""

    def events(self, planned, stop):
        lost = False
        for event in super().events(planned, stop):
            if not lost and isinstance(event, Encoded) and event.modality == "video":
                lost = True
            else:
                yield event


class TestTheAccount:
    def test_a_clip_that_never_comes_loses_its_recording_alone(self, tmp_path):
        """Every row has an outcome, and the next run tries again what was lost."""
        for number in range(3):
            write_video(tmp_path / f"{number}.mp4", seconds=4, fps=10, picture=grey(number + 1))
        manifest = manifest_of(tmp_path, *(f"{number}.mp4" for number in range(3)))
        encoders = {"video": Grey(), "audio": Loudness()}
        store = FeatureStore.create(tmp_path / "s")
        specs = {modality: build_spec(encoder, CLIPS, "pyav", "float16") for modality, encoder in encoders.items()}
        account = Run(manifest, store, encoders, specs, None, range(3))
        reading = Reading(clips=CLIPS, decoder="pyav")
        account.work(Forgetful(encoders, reading, workers=1, n_rows=3), retry_failed=False, stall_s=60)
        outcomes = account.outcomes()
        assert [outcome.outcome for outcome in outcomes] == ["failed", "stored", "stored"]
        assert "1 of 2 clips of video" in outcomes[0].reason
        again = extract(manifest, store, video=Grey(), audio=Loudness(), clips=CLIPS)
        assert [outcome.outcome for outcome in again.outcomes] == ["stored", "already", "already"]
