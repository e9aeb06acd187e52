"""NFC before tokenizing: of a text as a whole, with the bytes of its pieces kept apart."""

import unicodedata

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tracekit import encoded
from tracekit.kernels.normal_form import may_change, sensitive_code_points

MARKED = ("a", "=", ">", "\n", "\u0338", "\u0301", "\u0323", "\u1100", "\u1161", "\u11a8",
          "q\u0307", "é", "字", "\u212b", "\u0958", "😀")  # fmt: skip


def test_every_character_that_nfc_can_change_alone_is_known():
    table = sensitive_code_points()
    for code in range(0x110000):
        c = chr(code)
        if unicodedata.category(c) == "Cs":
            continue
        if unicodedata.combining(c) or not unicodedata.is_normalized("NFC", c):
            assert table[code]


def test_a_mark_at_the_start_of_a_piece_belongs_with_the_character_before_it():
    """`=` and a combining stroke become one character: bytes move over the border of pieces."""
    text, sizes = encoded._normalised(["<function=", "\u0338x", ">\n"])
    assert text == "<function≠x>\n"
    assert sum(sizes) == len(text.encode())


@settings(max_examples=300, deadline=None)
@given(
    st.lists(
        st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=8)
        | st.lists(st.sampled_from(MARKED), max_size=4).map("".join),
        min_size=1,
        max_size=4,
    )
)
def test_text_is_normalised_as_a_whole(pieces):
    whole = unicodedata.normalize("NFC", "".join(pieces))
    text, sizes = encoded._normalised(pieces)
    assert text == whole
    assert sum(sizes) == len(whole.encode())
    raw = "".join(pieces).encode()
    calm = not may_change(np.frombuffer(raw, np.uint8), np.array([0, len(raw)]))[0]
    assert not calm or whole == "".join(pieces)
