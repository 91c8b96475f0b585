"""Fusion matches clips by their spans and never makes up what is missing."""

from __future__ import annotations

import numpy as np
import pytest

from poise.errors import StrategyError
from poise.heads.fusion import available_fusions, fuse, modalities_of, usable
from poise.store.bags import Bags, ModalityBags


def timed(starts: list[list[float]], scale: float) -> ModalityBags:
    """One modality whose values tell recording and start."""
    values = [[scale * (10 * row + start)] for row, each in enumerate(starts) for start in each]
    times = [[start, start + 10] for each in starts for start in each]
    return ModalityBags(
        values=np.array(values, dtype=np.float32).reshape(-1, 1),
        offsets=np.concatenate([[0], np.cumsum([len(each) for each in starts])]),
        clip_times=np.array(times, dtype=np.float64).reshape(-1, 2),
    )


def pair(video: list[list[float]], audio: list[list[float]]) -> Bags:
    keys = tuple(f"r{row}" for row in range(len(video)))
    return Bags(keys=keys, modalities={"audio": timed(audio, -1), "video": timed(video, 1)})


def test_early_fusion_joins_clips_of_the_same_span():
    """Clips that one modality lacks are left out; video comes first."""
    (fused,) = fuse(pair([[0, 10, 20], [0]], [[10, 20, 30], [0]]), "early").modalities.values()
    np.testing.assert_array_equal(fused.values, [[10, -10], [20, -20], [10, -10]])
    np.testing.assert_array_equal(fused.offsets, [0, 2, 3])
    np.testing.assert_array_equal(fused.clip_times[:, 0], [10, 20, 0])


def test_imported_clips_are_matched_by_their_place():
    """Without times, as many clips on both sides are joined one by one."""
    bags = Bags.from_arrays({"video": [np.ones((2, 3))], "audio": [np.zeros((2, 4))]})
    assert fuse(bags, "early").modalities["video+audio"].values.shape == (2, 7)
    uneven = Bags.from_arrays({"video": [np.ones((2, 3))], "audio": [np.zeros((3, 4))]}, keys=["r0"])
    with pytest.raises(StrategyError, match="r0 has 2 clips of video and 3 of audio"):
        fuse(uneven, "early")


def test_missing_modality_is_refused_and_masked():
    """Fusing says how many recordings lack what; `usable` tells which are left."""
    bags = pair([[0], [], [0], [0]], [[0], [0], [], [10]])
    with pytest.raises(StrategyError, match="of 4 1 lack video and 1 lack audio"):
        fuse(bags, "early")
    np.testing.assert_array_equal(usable(bags, "early"), [True, False, False, False])
    np.testing.assert_array_equal(usable(bags, "audio"), [True, True, False, True])
    with pytest.raises(StrategyError, match=r"no clip with the same span in video and audio \(first: r1\)"):
        fuse(pair([[0], [0]], [[0], [10]]), "early")


def test_fusion_of_a_modality_that_is_not_there_is_refused():
    """The message lists what there is."""
    bags = Bags.from_arrays({"video": [np.ones((2, 3))]})
    with pytest.raises(StrategyError, match="needs audio, but the features are of: video"):
        fuse(bags, "early")
    with pytest.raises(StrategyError, match="needs middle, but the features are of: video. Did you mean 'mid'"):
        fuse(bags, "middle")
    assert available_fusions(bags) == ["video"]
    assert modalities_of("auto", bags) == ("video",)


def test_auto_takes_all_modalities():
    """Both modalities are fused early; a plain table is taken as it is."""
    both = pair([[0]], [[0]])
    assert modalities_of("auto", both) == ("video", "audio")
    assert available_fusions(both) == ["early", "video", "audio"]
    assert fuse(Bags.from_array(np.ones((3, 2))), "auto").modalities["features"].values.shape == (3, 2)


def test_auto_does_not_choose_between_modalities_that_it_does_not_know():
    """None is passed over in silence; a third one is used by its name."""
    clips = [np.ones((2, 3))]
    bags = Bags.from_arrays({"video": clips, "audio": clips, "text": clips})
    with pytest.raises(StrategyError, match="of: video, audio, text. fusion='auto' takes video and audio"):
        modalities_of("auto", bags)
    assert modalities_of("text", bags) == ("text",)


@pytest.mark.parametrize("fusion", ["mid", "gated", "late"])
def test_loose_fusions_take_recordings_that_lack_a_modality(fusion):
    """Each modality keeps all its clips; only a recording that has neither is refused."""
    bags = pair([[0, 10], [], [0]], [[0], [10], []])
    fused = fuse(bags, fusion)
    assert {name: block.n_clips.tolist() for name, block in fused.modalities.items()} == {
        "video": [2, 0, 1],
        "audio": [1, 1, 0],
    }
    nothing = pair([[0], []], [[0], []])
    np.testing.assert_array_equal(usable(nothing, fusion), [True, False])
    with pytest.raises(StrategyError, match=r"1 of 2 recordings have neither video nor audio \(first: r1\)"):
        fuse(nothing, fusion)


def test_layers_of_both_modalities_must_be_as_many_to_be_joined():
    """Their weights would be learnt together; apart they may differ."""
    bags = Bags.from_arrays({"video": [np.zeros((2, 3, 4))], "audio": [np.zeros((2, 5, 4))]})
    with pytest.raises(StrategyError, match="video have 3 layers and those of audio 5"):
        fuse(bags, "early")
    assert fuse(bags, "mid").modalities["audio"].n_layers == 5
