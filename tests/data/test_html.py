import polars as pl
import pytest

from dti.data.html import cleaned, has_markup


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("Plain title", "Plain title"),
        (None, None),
        ("Brown &amp; Blue &#39;Tin&#39; &eacute;", "Brown & Blue 'Tin' é"),
        ('<span class="a-size-medium a-color-secondary"', ""),
        (' Magazines" />', ""),
        ("2' x 4' board \"new\"", "2' x 4' board \"new\""),
        ("<b>Bold</b> and<br/>broken\n\n line", "Bold and broken line"),
        ("<script type='text/javascript'>var a = 1 < 2;</script>Real title", "Real title"),
        ("Real title <script>\nif (a) {", "Real title"),
        ("<style>.a { color: red }</style><!-- hidden <b> -->Title", "Title"),
        ("var aPageStart = (new Date()).getTime();\nvar ue_t0=ue_t0||+new Date();", ""),
        ("$(document).ready(function() { go(); })", ""),
        ("&lt;span class=&quot;x&quot;&gt;Escaped&lt;/span&gt;", "Escaped"),
        ("I <3 you, 2 < 3 and 5 > 4", "I <3 you, 2 < 3 and 5 > 4"),
        ("R&D by AT&T", "R&D by AT&T"),
        ("Functional var iety of function keys", "Functional var iety of function keys"),
    ],
)
def test_what_a_reader_of_the_page_sees(text, clean):
    frame = pl.DataFrame({"title": [text]}, schema={"title": pl.String})
    assert frame.select(cleaned("title")).item() == clean


def test_markup_is_told_from_text():
    texts = ["plain", "a < b", "AT&T", None, "a &amp; b", "<b>a</b>", '<span class="a"', "<!-- -->"]
    assert pl.DataFrame({"t": texts}).select(has_markup("t")).to_series().to_list() == [False] * 4 + [True] * 4
