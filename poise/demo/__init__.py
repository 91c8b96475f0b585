"""The demo's synthetic interviews: espeak-ng speaks, numpy draws, PyAV writes. Nothing here looks at the results."""

from poise.demo.answers import Delivery, speak_answer
from poise.demo.face import Look, Portrait
from poise.demo.gestures import Manner, Pose, move
from poise.demo.interviews import LABELS, Recording, synthesise, write_interviews, write_recording
from poise.demo.people import Person
from poise.demo.speech import Utterance, speak

__all__ = [
    "LABELS",
    "Delivery",
    "Look",
    "Manner",
    "Person",
    "Portrait",
    "Pose",
    "Recording",
    "Utterance",
    "move",
    "speak",
    "speak_answer",
    "synthesise",
    "write_interviews",
    "write_recording",
]
