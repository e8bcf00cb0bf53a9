"""A page in headless Chromium, for tests. Needs selenium, `chromium` and `chromedriver`."""

import time

ARGUMENTS = (
    "--headless=new --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-sync "
    "--disable-background-networking --disable-component-update --disable-dev-shm-usage"
)


def start(chromium, chromedriver, folder):
    """Start a browser that logs its console; `folder` is for its user data."""
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for argument in ARGUMENTS.split():
        options.add_argument(argument)
    options.add_argument(f"--user-data-dir={folder}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    return webdriver.Chrome(options=options, service=webdriver.ChromeService(chromedriver))


class Page:
    """A page in the browser. Elements are found by CSS selectors."""

    def __init__(self, driver, path):
        self.driver, self.path = driver, path

    def open(self, address="", width=1366, height=768, theme="light"):
        command = self.driver.execute_cdp_cmd
        command("Emulation.setTouchEmulationEnabled", dict(enabled=width < 500))
        size = dict(width=width, height=height, deviceScaleFactor=1, mobile=width < 500)
        command("Emulation.setDeviceMetricsOverride", size)
        features = [dict(name="prefers-color-scheme", value=theme)]
        command("Emulation.setEmulatedMedia", dict(features=features))
        self.driver.get("about:blank")
        self.driver.get(self.path.as_uri() + address)
        self.settle()
        return self

    def settle(self):
        """Wait for two frames, after which observers of sizes have run."""
        self.driver.execute_async_script(
            "const done = arguments[0]; requestAnimationFrame(() => requestAnimationFrame(done))"
        )

    def js(self, script, *arguments):
        return self.driver.execute_script(script, *arguments)

    def __getitem__(self, selector):
        return self.driver.find_element("css selector", selector)

    def all(self, selector):
        return self.driver.find_elements("css selector", selector)

    def text(self, selector):
        """The visible text, without the isolates around words."""
        return self[selector].text.replace("\u2068", "").replace("\u2069", "")

    def shown(self, selector):
        return self[selector].is_displayed()

    def labels(self, side="rows", figure=".weights"):
        return self.js(
            "return [...document.querySelectorAll(arguments[0])].map((one) => one.textContent)",
            f".panel:not([hidden]) {figure} .{side} span",
        )

    def choose(self, selector, text):
        from selenium.webdriver.support.select import Select

        Select(self[selector]).select_by_visible_text(text)
        self.settle()

    @property
    def keys(self):
        """The keys that are no letters, such as `keys.ENTER`."""
        from selenium.webdriver import Keys

        return Keys

    def press(self, *keys, at=None):
        from selenium.webdriver import ActionChains

        if at is not None:
            self.js("arguments[0].focus()", self[at])
        ActionChains(self.driver).send_keys(*keys).perform()
        self.settle()

    def tap(self, selector, x, y):
        """Tap an element at a part of its width and height."""
        self.js("arguments[0].scrollIntoView({block: 'center'})", self[selector])
        box = self.js("return arguments[0].getBoundingClientRect()", self[selector])
        point = dict(x=box["left"] + x * box["width"], y=box["top"] + y * box["height"])
        command = self.driver.execute_cdp_cmd
        command("Input.dispatchTouchEvent", dict(type="touchStart", touchPoints=[point]))
        command("Input.dispatchTouchEvent", dict(type="touchEnd", touchPoints=[]))
        time.sleep(0.1)  # the click follows the touch
        self.settle()

    def point(self, row, column, figure=".weights", click=False):
        """Move the mouse to a cell, or click it."""
        from selenium.webdriver import ActionChains

        canvas = self[f"{figure} canvas"]
        self.js("arguments[0].scrollIntoView({block: 'center'})", canvas)
        cell = self.js("return parseFloat(arguments[0].style.width)", canvas) / len(
            self.labels("columns", figure)
        )
        x = (column + 0.5) * cell - canvas.size["width"] / 2
        y = (row + 0.5) * cell - canvas.size["height"] / 2
        actions = ActionChains(self.driver).move_to_element_with_offset(canvas, round(x), round(y))
        (actions.click() if click else actions).perform()
        self.settle()
