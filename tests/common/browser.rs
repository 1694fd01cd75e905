// Each test file uses a part of this.
#![allow(dead_code)]

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use fantoccini::{Client, ClientBuilder, Locator};
use hyper_util::client::legacy::connect::HttpConnector;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::{Semaphore, SemaphorePermit};

use super::common::{SECOND, eventually};

/// Browsers take turns: one is as much as a small machine can feed beside a cluster.
static TURN: Semaphore = Semaphore::const_new(1);

/// How long anything on the page may take to appear on a busy machine, where a test says nothing else.
const LIMIT: std::time::Duration = std::time::Duration::from_secs(20);

/// A real browser: Chromium without a window, driven by its chromedriver. Dropping it ends both.
pub struct Browser {
    client: Client,
    driver: Driver,
    http: reqwest::Client,
    session: String,
    _turn: SemaphorePermit<'static>,
}

/// chromedriver, on a port of its own choice, and every process that it starts.
struct Driver {
    process: Child,
    url: String,
    /// Profiles and whatever else a browser leaves behind.
    _dir: TempDir,
}

impl Drop for Driver {
    fn drop(&mut self) {
        // It leads a group of its own, in which its browsers are.
        killpg(Pid::from_raw(self.process.id().try_into().unwrap()), Signal::SIGKILL).ok();
        self.process.wait().ok();
    }
}

impl Driver {
    /// Nothing where this machine has no chromedriver; in CI (`CI=true`) it must have one.
    fn start() -> Option<Driver> {
        let dir = tempfile::tempdir().unwrap();
        let mut command = Command::new("chromedriver");
        command.arg("--port=0").process_group(0).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        command.env("TMPDIR", dir.path()).env("HOME", dir.path());
        let mut process = match command.spawn() {
            Ok(process) => process,
            Err(error) => {
                let what = "the page was not tested in a browser: chromedriver is missing; \
                            apt-get install --no-install-recommends chromium chromium-driver";
                assert!(std::env::var("CI").as_deref() != Ok("true"), "{what}: {error}");
                // Not with eprintln!, which is not seen of tests that pass.
                std::io::stderr().write_all(format!("SKIPPED: {what}\n").as_bytes()).unwrap();
                return None;
            }
        };
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let port = lines.find_map(|line| {
            line.unwrap().rsplit_once("successfully on port ").map(|(_, port)| port.trim_end_matches('.').to_owned())
        });
        // What it says later must not fill the pipe.
        std::thread::spawn(move || lines.for_each(drop));
        let url = format!("http://127.0.0.1:{}", port.expect("chromedriver says its port"));
        Some(Driver { process, url, _dir: dir })
    }
}

impl Browser {
    /// A browser at `url`; nothing on a developer's machine that has none, which is said.
    pub async fn open(url: &str) -> Option<Browser> {
        let turn = TURN.acquire().await.unwrap();
        let driver = Driver::start()?;
        let arguments = [
            "--headless=new",
            "--no-sandbox",
            "--disable-dev-shm-usage",
            "--disable-gpu",
            "--disable-background-networking",
            "--disable-component-update",
            "--no-first-run",
            "--no-proxy-server",
            "--force-color-profile=srgb",
            "--window-size=1280,900",
        ];
        let wanted = json!({
            "browserName": "chrome",
            "goog:chromeOptions": { "args": arguments },
            "goog:loggingPrefs": { "browser": "ALL" },
        });
        let mut builder = ClientBuilder::new(HttpConnector::new());
        builder.capabilities(wanted.as_object().unwrap().clone());
        let client = builder.connect(&driver.url).await.expect("a browser session");
        let session = client.session_id().await.unwrap().unwrap();
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        let browser = Browser { client, driver, http, session, _turn: turn };
        browser.goto(url).await;
        Some(browser)
    }

    /// fantoccini's client, for what is not here.
    pub fn client(&self) -> &Client {
        &self.client
    }

    pub async fn goto(&self, url: &str) {
        self.client.goto(url).await.unwrap();
    }

    /// Runs a script, `return …` gives its value.
    pub async fn run(&self, script: &str) -> Value {
        self.client.execute(script, vec![]).await.unwrap_or_else(|error| panic!("{script}: {error}"))
    }

    /// The visible text of the first element that `css` finds.
    pub async fn text(&self, css: &str) -> Result<String, String> {
        let script = "const e = document.querySelector(arguments[0]); return e && e.getClientRects().length ? e.innerText : null";
        let text = self.client.execute(script, vec![css.into()]).await.map_err(|error| error.to_string())?;
        text.as_str().map(str::to_owned).ok_or_else(|| format!("there is no visible {css}"))
    }

    /// Waits until the element's text contains `part`; gives the text.
    pub async fn shows(&self, css: &str, part: &str) -> String {
        self.shows_within(LIMIT, css, part).await
    }

    /// The same within `limit`.
    pub async fn shows_within(&self, limit: std::time::Duration, css: &str, part: &str) -> String {
        eventually(limit, &format!("{css} shows {part:?}"), async || {
            let text = self.text(css).await?;
            if text.contains(part) { Ok(text) } else { Err(text) }
        })
        .await
    }

    /// Waits until nothing visible is found by `css`.
    pub async fn is_gone(&self, css: &str) {
        eventually(LIMIT, &format!("{css} is gone"), async || match self.text(css).await {
            Err(_) => Ok(()),
            Ok(text) => Err(text),
        })
        .await;
    }

    /// Clicks, as a person would, on what `css` finds, as soon as it can be clicked.
    pub async fn click(&self, css: &str) {
        eventually(LIMIT, &format!("{css} can be clicked"), async || {
            let element = self.client.find(Locator::Css(css)).await.map_err(|error| error.to_string())?;
            if !element.is_enabled().await.map_err(|error| error.to_string())? {
                return Err("it is disabled".to_owned());
            }
            element.click().await.map_err(|error| error.to_string())
        })
        .await;
    }

    /// Clicks the button with this label inside of what `css` finds.
    pub async fn press(&self, css: &str, label: &str) {
        let script = "const all = [...document.querySelectorAll(`${arguments[0]} button`)];
            const found = all.find((b) => b.innerText.trim() === arguments[1]);
            return found ?? all.map((b) => b.innerText).join(', ')";
        eventually(LIMIT, &format!("the button {label:?} in {css} can be pressed"), async || {
            let found = self.client.execute(script, vec![css.into(), label.into()]).await;
            let found = found.map_err(|error| error.to_string())?;
            // WebDriver's name for "a reference to an element follows".
            let element = found["element-6066-11e4-a52e-4f735466cecf"].as_str();
            let element = element.ok_or_else(|| format!("there are: {found}"))?.to_owned().into();
            let button = fantoccini::elements::Element::from_element_id(self.client.clone(), element);
            if !button.is_enabled().await.map_err(|error| error.to_string())? {
                return Err("it is disabled".to_owned());
            }
            button.click().await.map_err(|error| error.to_string())
        })
        .await;
    }

    /// Types into a field, in place of what it has.
    pub async fn fill(&self, css: &str, text: &str) {
        eventually(LIMIT, &format!("{css} can be filled in"), async || {
            let field = self.client.find(Locator::Css(css)).await.map_err(|error| error.to_string())?;
            field.clear().await.map_err(|error| error.to_string())?;
            field.send_keys(text).await.map_err(|error| error.to_string())
        })
        .await;
    }

    /// What the browser complained of since the last time: errors of scripts, refusals of the policy. A node that does
    /// not answer, or that refuses something, is no complaint about the page.
    pub async fn complaints(&self) -> Vec<String> {
        let logged = self.driver_call("se/log", json!({ "type": "browser" })).await;
        let of_network = |text: &str| text.contains("Failed to load resource") || text.contains("net::ERR_");
        let entries = logged.as_array().cloned().unwrap_or_default();
        let severe = entries.iter().filter(|entry| entry["level"] == "SEVERE" || entry["level"] == "WARNING");
        severe
            .filter_map(|entry| entry["message"].as_str())
            .filter(|text| !of_network(text))
            .map(str::to_owned)
            .collect()
    }

    /// Sets the size of what is seen, also below what a window can have, and the system's colours: light or dark.
    pub async fn view(&self, width: u32, height: u32, colours: &str) {
        let size = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": false });
        self.devtools("Emulation.setDeviceMetricsOverride", size).await;
        self.devtools("Emulation.setScrollbarsHidden", json!({ "hidden": true })).await;
        let features = json!([{ "name": "prefers-color-scheme", "value": colours }]);
        self.devtools("Emulation.setEmulatedMedia", json!({ "features": features })).await;
    }

    /// Writes what is seen, or the whole page, as a PNG.
    pub async fn screenshot(&self, file: &Path, whole: bool) {
        let mut options = json!({ "format": "png" });
        if whole {
            let size = self.run("const e = document.documentElement; return [e.scrollWidth, e.scrollHeight]").await;
            options["captureBeyondViewport"] = true.into();
            options["clip"] = json!({ "x": 0, "y": 0, "width": size[0], "height": size[1], "scale": 1 });
        }
        let taken = self.devtools("Page.captureScreenshot", options).await;
        let bytes = base64::Engine::decode(&base64::engine::general_purpose::STANDARD, taken["data"].as_str().unwrap());
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(file, bytes.unwrap()).unwrap();
    }

    /// Pictures of what is seen, or of the whole page, in `target/screenshots`: light and dark, 1280 and 375 wide.
    /// Nothing may be wider than what is seen.
    pub async fn pictures(&self, name: &str, whole: bool) {
        let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap().join("screenshots");
        for (colours, width, height) in
            [("light", 1280, 900), ("dark", 1280, 900), ("light", 375, 812), ("dark", 375, 812)]
        {
            self.view(width, height, colours).await;
            // What is drawn for a width is drawn anew, and the node tells its figures each 750 ms.
            tokio::time::sleep(std::time::Duration::from_millis(900)).await;
            let overflow = "return document.documentElement.scrollWidth - document.documentElement.clientWidth";
            assert_eq!(self.run(overflow).await, 0, "{name} is wider than {width}");
            // One that runs while the colours change keeps those that it began with.
            self.run("document.getAnimations().filter((a) => a.effect.getTiming().iterations < 9).forEach((a) => a.finish())").await;
            self.screenshot(&dir.join(format!("{name}-{colours}-{width}.png")), whole).await;
        }
        self.view(1280, 900, "light").await;
    }

    /// A command of the browser's DevTools.
    pub async fn devtools(&self, command: &str, parameters: Value) -> Value {
        self.driver_call("goog/cdp/execute", json!({ "cmd": command, "params": parameters })).await
    }

    async fn driver_call(&self, path: &str, body: Value) -> Value {
        let url = format!("{}/session/{}/{path}", self.driver.url, self.session);
        let answer = self.http.post(url).body(body.to_string()).timeout(60 * SECOND).send().await.unwrap();
        let answer: Value = serde_json::from_str(&answer.text().await.unwrap()).unwrap();
        assert!(answer["value"]["error"].is_null(), "{path}: {answer}");
        answer["value"].clone()
    }
}
