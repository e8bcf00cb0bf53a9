"""The page of the weights: its data, and every control in a headless browser."""

import base64
import json
import re
import shutil
from types import SimpleNamespace

import numpy
import pytest
import torch
from browser import Page, start
from weights_models import SENTENCES, make_model

from fairseq_wsum.cells import LSTM
from fairseq_wsum.weights import half_lives, initial_shares, norms, weights
from fairseq_wsum.weights.page import write_page
from fairseq_wsum.weights.sentences import join_norms


class Signed(LSTM):
    """A cell whose forget gate lies between -1 and 1."""

    def gates(self, z):
        return torch.sigmoid(z["i"]), torch.tanh(z["f"] - 1)


def page_of(path, *models):
    write_page(path, models)
    return path.read_text(encoding="utf-8")


def data_of(text):
    return json.loads(
        re.search(r'<script type="application/json" id="data">(.*)</script>', text)[1]
    )


def decode(text):
    return torch.frombuffer(bytearray(base64.b64decode(text)), dtype=torch.float32)


# Without a browser


def test_the_page_needs_no_other_file(tmp_path):
    text = page_of(tmp_path / "page.html", make_model(), make_model("lstm", cell="lstm"))
    assert "http:" not in text and "https:" not in text and "{{" not in text
    assert re.findall(r"""(?:src|href)=["']([^"']*)""", text) == ["data:,"]
    assert not re.findall(r"@import|url\(|fetch\(|XMLHttpRequest|import\(", text)


def test_norms_and_shares_are_packed(tmp_path):
    model = make_model()
    [found] = data_of(page_of(tmp_path / "page.html", model))["models"]
    layers = [(layer["side"], layer["layer"]) for layer in found["layers"]]
    assert layers == [(side, k) for side in ("encoder", "decoder") for k in (1, 2)]
    for sentence, packed in zip(model.sentences, found["sentences"], strict=True):
        for view, packed_view in zip(sentence.views, packed["views"], strict=True):
            for trace, part in zip(view.directions, packed_view["directions"], strict=True):
                all_norms = norms(trace)[..., 0]
                kept = torch.ones_like(all_norms, dtype=torch.bool)
                kept = kept.triu() if trace.reverse else kept.tril()
                assert torch.equal(decode(part["norms"]), all_norms[kept])
                share = initial_shares(trace)[:, 0].mean(-1)
                assert torch.equal(decode(part["shares"]), share)
        assert torch.equal(decode(packed["attention"]), sentence.attention.flatten())


def test_units_are_packed_with_their_gates_and_statistics(tmp_path, monkeypatch):
    monkeypatch.setattr("fairseq_wsum.weights.page.UNITS", 8)
    model = make_model(units=24)
    [found] = data_of(page_of(tmp_path / "page.html", model))["models"]
    layer = found["layers"][0]["directions"][1]
    chosen = [unit["unit"] for unit in layer["units"]]
    traces = [sentence.views[0].directions[1] for sentence in model.sentences]
    f = torch.cat([trace.forget_gates[:, 0] for trace in traces])
    longest = half_lives(f).topk(2).indices.tolist()
    rest = [k for k in f.std(0).argsort(descending=True).tolist() if k not in longest]
    assert chosen == sorted(longest + rest[:6]) and layer["of"] == 24
    for n, trace in enumerate(traces):
        part = found["sentences"][n]["views"][0]["directions"][1]
        for name, gates in (("i", trace.input_gates), ("f", trace.forget_gates)):
            assert torch.equal(decode(part[name]), gates[:, 0, chosen].flatten())
    i = torch.cat([trace.input_gates[:, 0] for trace in traces])
    of_words: dict[str, list[torch.Tensor]] = {}
    for trace, sentence in zip(traces, model.sentences, strict=True):
        for t, n in enumerate(sentence.source.word_of):
            of_words.setdefault(sentence.source.words[n], []).append(trace.input_gates[t, 0])
    for k, unit in zip(chosen, layer["units"], strict=True):
        assert unit["bins"] == numpy.histogram(f[:, k].numpy(), 20, (0, 1))[0].tolist()
        assert unit["forget"] == pytest.approx(float(f[:, k].mean()), abs=1e-4)
        assert unit["input"] == pytest.approx(float(i[:, k].mean()), abs=1e-4)
        assert unit["life"] == pytest.approx(float(half_lives(f)[k]), abs=1e-3)
        for key, falling in (("most", True), ("least", False)):
            values = [mean for _, mean in unit[key]]
            assert values == sorted(values, reverse=falling) and len(values) == 15
            for word, mean in unit[key]:
                gate = torch.stack(of_words[word])[:, k].mean()
                assert mean == pytest.approx(float(gate), abs=1e-3)


def test_tokens_stay_text(tmp_path):
    tokens = ["</script>", "<b>fett</b>", "<!--<script>", "&amp;", '"', "\\", "{{data}}", "ß"]
    text = page_of(tmp_path / "page.html", make_model("<i>", sentences=[tokens]))
    assert text.count("</script>") == 2 and "<b>fett" not in text and "<i>" not in text
    data = data_of(text)
    assert data["models"][0]["sentences"][0]["texts"][0]["tokens"][:-1] == tokens
    assert data["models"][0]["name"] == "<i>"


# In a browser

SIZES = {"laptop": (1366, 768), "phone": (390, 844)}


@pytest.fixture(scope="module")
def driver(tmp_path_factory):
    pytest.importorskip("selenium.webdriver")
    chromium, chromedriver = shutil.which("chromium"), shutil.which("chromedriver")
    if chromium is None or chromedriver is None:
        pytest.skip("needs chromium and chromedriver")
    driver = start(chromium, chromedriver, tmp_path_factory.mktemp("chromium"))
    yield driver
    driver.quit()


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Pages, and the models that they show."""
    folder = tmp_path_factory.mktemp("pages with a blank")
    models = [make_model(), make_model("lstm", cell="lstm", units=12)]
    language_model = make_model("lm", encoder=False, sentences=[["a", "b", "c"]] * 2, layers=1)
    write_page(folder / "two.html", models)
    write_page(folder / "lm.html", [language_model])
    signed = make_model("signed", cell=Signed("test-signed"), sentences=SENTENCES[1:2])
    write_page(folder / "signed.html", [signed])
    return SimpleNamespace(folder=folder, models=models, signed=signed)


@pytest.fixture
def page(driver, files):
    """A page whose browser must not report anything."""
    driver.get_log("browser")
    yield Page(driver, files.folder / "two.html")
    assert driver.get_log("browser") == []


READOUT = ".weights .readout"


def number_in(text):
    return float(re.search(r": (-?[\d.]+)", text)[1])


def test_the_mouse_reads_the_weights_of_both_directions(page, files):
    page.open("#sentence=2")
    assert page.labels()[:3] == ["Ein", "Mann", "überquert"] == page.labels("columns")[:3]
    forward, backward = files.models[0].sentences[1].views[0].directions
    page.point(1, 7)
    expected, first = norms(forward)[7, 1, 0], norms(forward)[1, 1, 0]
    text = page.text(READOUT)
    assert text.startswith("Weight of “Mann” in the memory after “Straße” (forward): ")
    assert number_in(text) == pytest.approx(float(expected), rel=0.01)
    assert f"({100 * expected / first:.0f}% of its first weight)" in text
    share = initial_shares(forward)[7, 0].mean()
    assert f"which is zero: {100 * share:.0f}% on average over the units" in text
    page.point(7, 1, click=True)
    text = page.text(READOUT)
    assert text.startswith("Weight of “Straße” in the memory after “Mann” (backward): ")
    expected = norms(backward)[1, 7, 0]
    assert number_in(text) == pytest.approx(float(expected), rel=0.01)
    page.point(4, 4)
    assert "First weight of “seinem”" in page.text(READOUT)
    assert "(forward)" in page.text(READOUT) and "(backward)" in page.text(READOUT)


def test_keys_move_the_cursor_and_change_the_sentence(page):
    page.open("#sentence=2")
    k = page.keys
    assert page.js("return document.querySelector('.map').getAttribute('role')") == "application"
    page.press(k.ARROW_RIGHT, k.ARROW_RIGHT, k.ARROW_DOWN, at=".weights .map")
    assert "“Mann” in the memory after “überquert”" in page.text(READOUT)
    page.press(k.END)
    assert "“Mann” in the memory after “</s>”" in page.text(READOUT)
    page.press(k.HOME, k.ARROW_UP, k.ARROW_UP, k.ARROW_LEFT)
    assert "First weight of “Ein”" in page.text(READOUT)
    page.press("n")
    assert page["#sentence"].get_attribute("value") == "2"
    page.press("p", "p", "p")
    assert page["#sentence"].get_attribute("value") == "0"
    assert not page["#previous"].is_enabled() and page["#next"].is_enabled()


def test_every_control_is_reached_by_tab_and_shows_its_focus(page):
    page.open("#sentence=3&a=1.1.both.all&b=2.1.both.all")
    k, seen = page.keys, set()
    for _ in range(100):
        page.driver.switch_to.active_element.send_keys(k.TAB)
        name, outline = page.js(
            """const one = document.activeElement;
            const rows = one.closest("tbody");
            const outline = getComputedStyle(one).outlineStyle;
            if (rows) rows.querySelector("tr:last-child button").focus(); // skip the others
            const name = rows ? "row" : one.id || one.closest("label")?.className;
            return [name || one.className || one.closest("th")?.dataset.key || one.tagName,
                outline !== "none"]"""
        )
        if name == "BODY":
            break
        assert outline, name
        seen.add(name)
    wanted = "theme sentence next join small compare shared model layer direction unit row scroll"
    wanted += " reverse life forget input word SUMMARY"
    assert set(wanted.split()) <= seen and any("map" in name for name in seen), seen


def test_a_direction_and_a_side_are_chosen(page):
    page.open("#sentence=1")
    page["#next"].click()
    assert page.text("#text") == " ".join(SENTENCES[1])
    page.choose(".direction select", "forward")
    page.point(7, 1)
    assert page.text(READOUT) == "“Straße” is read after “Mann”, so it has no weight there."
    page.choose(".direction select", "backward")
    assert number_in(page.text(READOUT)) > 0
    page.choose(".layer select", "decoder 2")
    assert page.labels()[0] == "</s>" and not page.shown(".attention")
    assert not page.shown(".direction") and page.text(".table h2").startswith("Units of decoder 2")


def test_the_theme_the_model_and_the_scale_of_the_colours_are_chosen(page):
    page.open("#sentence=2")
    page.press(page.keys.ENTER, at="#theme")
    assert page.text("#theme") == "Light theme"
    page.choose(".model select", "lstm")
    page.choose(".unit select", page.all(".unit option")[1].get_attribute("textContent"))
    assert "lstm, encoder 1, unit" in page.text(".weights figcaption")
    linear = page.all(".weights .legend .ticks span")[1].text
    page.press(page.keys.SPACE, at="#small")
    bent = page.all(".weights .legend .ticks span")[1].text
    assert "small=1" in page.driver.current_url
    assert float(bent) == pytest.approx(float(linear) / 2, rel=0.01)


def test_joined_words_have_the_norms_of_their_tokens(page, files):
    page.open("#sentence=3&join=1")
    view = files.models[0].sentences[2].views[0]
    assert page.labels() == list(view.text.words)
    expected = join_norms(norms(view.directions[0])[..., 0], view.text, False)
    page.point(1, 4)
    assert "“Mädchen” in the memory after “Äpfel”" in page.text(READOUT)
    assert number_in(page.text(READOUT)) == pytest.approx(float(expected[4, 1]), rel=0.01)
    expected = join_norms(norms(view.directions[1])[..., 0], view.text, True)
    page.point(4, 1)
    assert number_in(page.text(READOUT)) == pytest.approx(float(expected[1, 4]), rel=0.01)
    page["#join"].click()
    assert page.labels()[1:3] == ["▁Mä", "dchen"]


def test_a_unit_shows_its_weights_histogram_and_words(page, files):
    page.open("#sentence=2")
    for k, key in enumerate(["unit", "reverse", "life", "forget", "input", "word"]):
        header = page[f"th[data-key={key}]"]
        header.find_element("css selector", "button").click()
        assert header.get_attribute("aria-sort") in ("ascending", "descending")
        column = page.js(
            "return [...document.querySelectorAll(arguments[0])].map((one) => one.textContent)",
            f".panel:not([hidden]) tbody td:nth-child({k + 1})",
        )
        if key in ("unit", "forget", "input"):
            column = [float(text) for text in column]
            assert column == sorted(column, reverse=key != "unit")
    assert page.text(".detail").startswith("Choose a unit")
    page["tr[data-unit=b5] td:nth-child(3)"].click()
    assert page.text(".detail h3") == "Unit 5, backward"
    trace = files.models[0].sentences[1].views[0].directions[1]
    expected = weights(trace, [5])[1, 7, 0, 0]
    page.point(7, 1)
    assert number_in(page.text(READOUT)) == pytest.approx(float(expected), rel=0.01)
    page.point(1, 7)
    assert page.text(READOUT) == "“Mann” is read after “Straße”, so it has no weight there."
    assert len(page.all(".histogram span")) == 20 and len(page.all(".lists li")) == 30
    page.press(page.keys.ENTER, at="tr[data-unit=f3] button")
    assert page.text(".detail h3") == "Unit 3, forward"
    focused = page.driver.switch_to.active_element
    assert focused.get_attribute("aria-pressed") == "true" and focused.text == "3"
    page[".detail button"].click()
    assert page["#sentence"].is_displayed() and "all units" in page.text(".weights figcaption")


def test_the_attention_marks_the_same_source_word(page, files):
    page.open("#sentence=2")
    attention = files.models[0].sentences[1].attention
    page.point(3, 7, ".attention")
    text = page.text(".attention .readout")
    assert text == f"Attention to “Straße” for “Straße”: {100 * attention[3, 7]:.0f}%."
    marked = page.all(".weights .marked")
    assert [one.get_attribute("textContent") for one in marked] == ["Straße", "Straße"]
    page.point(1, 5)
    marked = page.all(".attention .marked")
    assert [one.get_attribute("textContent") for one in marked] == ["Mann"]


def test_a_comparison_has_two_choices_and_one_or_two_scales(page):
    page.open("#sentence=2")
    assert not page.shown("#shared-label")
    page["#compare"].click()
    page.settle()
    first, second = page.all(".panel")
    assert second.find_element("css selector", "figcaption").text.startswith("lstm, encoder 1")
    assert first.location["y"] == second.location["y"]
    scales = [one.text for one in page.all(".weights .legend .ticks") if one.is_displayed()]
    assert len(set(scales)) == 1
    page["#shared"].click()
    scales = [one.text for one in page.all(".weights .legend .ticks") if one.is_displayed()]
    assert len(set(scales)) == 2


def test_the_address_keeps_the_view(page):
    page.open("#sentence=3&join=1&shared=0&a=2.2.b.all&b=1.3.both.f3")
    captions = [one.text for one in page.all(".weights figcaption")]
    assert captions == ["lstm, encoder 2, all units", "no-srnn-hidden, decoder 1, unit 3, forward"]
    address = page.driver.current_url
    page["#next"].click()
    assert page.driver.current_url == address.replace("sentence=3", "sentence=4")
    page.js("location.hash = '#sentence=1&a=1.2.f.all'")
    page.settle()
    assert page.text("#text") == "Guten Morgen !"
    page.open("#sentence=99&a=7.x.y.z&b=..")
    assert page["#sentence"].get_attribute("value") == "4"


def test_a_language_model_has_one_direction_and_no_attention(page, files):
    page.path = files.folder / "lm.html"
    page.open()
    assert page.labels() == ["</s>", "a", "b", "c"] and page.text("#text") == "a b c"
    for selector in (".attention", ".model", ".direction", "#join-label"):
        assert not page.shown(selector)


def test_negative_weights_keep_their_sign(page, files):
    trace = files.signed.sentences[0].views[0].directions[0]
    every = weights(trace)[..., 0, :]  # t x j x H
    t, j, unit = (every < -0.05).nonzero()[0].tolist()
    page.path = files.folder / "signed.html"
    page.open(f"#a=1.1.both.f{unit}")
    assert page.text(".sign") == "\N{MINUS SIGN} negative"
    page.point(j, t)
    text = page.text(READOUT).replace("\N{MINUS SIGN}", "-")
    assert number_in(text) == pytest.approx(float(every[t, j, unit]), rel=0.01)


def test_a_touch_reads_a_weight_and_picks_a_unit(page):
    page.open("#sentence=2", *SIZES["phone"])
    page.tap(".weights canvas", 1.5 / 12, 0.5 / 12)
    assert "of “Ein” in the memory after “Mann” (forward)" in page.text(READOUT)
    page.tap("tr[data-unit=b5] td:nth-child(2)", 0.5, 0.5)
    assert page.text(".detail h3") == "Unit 5, backward"
    page.tap("#join", 0.5, 0.5)
    assert page["#join"].is_selected()


@pytest.mark.parametrize("sentence", [2, 5], ids=["12 words", "60 words"])
@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("size", SIZES)
def test_the_page_fits_the_screen_in_both_themes(page, size, theme, sentence):
    width, height = SIZES[size]
    page.open(f"#sentence={sentence}&a=1.1.both.all&b=2.1.both.all", width, height, theme)
    assert page.js("return document.documentElement.scrollWidth") <= width
    assert page.text("#theme") == ("Light theme" if theme == "dark" else "Dark theme")
    background = page.js("return getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, re.findall(r"\d+", background)[:3])) < 200) == (theme == "dark")
    cells = page.js(
        "return parseFloat(document.querySelector('.map').style.getPropertyValue('--cell'))"
    )
    assert cells >= 16
