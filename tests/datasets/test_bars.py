import io
import sys

from medres.datasets import bars


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_a_bar_is_shown_on_a_terminal_alone(monkeypatch):
    monkeypatch.setattr(bars, "SHOWN_AFTER_S", 0.0)
    for stream in (Terminal(), io.StringIO()):
        monkeypatch.setattr(sys, "stderr", stream)
        assert list(bars.over(["a", "b"], "reading\x1b[2J\nimages")) == ["a", "b"]
        shown = stream.getvalue()
        assert ("reading" in shown and "/2 [" in shown) == stream.isatty()
        assert bool(shown) == stream.isatty()
        assert "\x1b[2J" not in shown
