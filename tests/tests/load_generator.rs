//! `pitlane-loadgen` as its users meet it: the real binary, its exit status and its reports. What the engine does is other suites' subject.

use std::path::PathBuf;
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;

use nix::sys::signal::Signal;
use pitlane_tests::engine::{Engine, Folder, PASSWORD, Settings};
use pitlane_tests::process::{Process, binary};
use pitlane_tests::schema;
use serde_json::Value;

/// What a run may take beyond its time on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// A generator under way.
struct Generator {
    process: Process,
    folder: Folder,
}

/// How a generator ended.
struct Ended {
    status: ExitStatus,
    /// What it printed.
    said: String,
    /// The JSON file; null if it wrote none.
    report: Value,
}

impl Generator {
    /// `pitlane-loadgen COMMAND --target ENGINE ... --json FILE`.
    fn start(engine: &Engine, command: &str, words: &[&str]) -> Generator {
        let folder = Folder::new("loadgen").expect("folder");
        let log = std::fs::File::create(folder.path.join("log")).expect("log");
        let process = Command::new(binary("pitlane-loadgen"))
            .arg(command)
            .args(["--target", &engine.address().to_string(), "--password", PASSWORD, "--quiet"])
            .args(["--idle", "yield", "--json"])
            .arg(folder.path.join("report.json"))
            .args(words)
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("log"))
            .stderr(log)
            .spawn()
            .expect("pitlane-loadgen");
        Generator { process: Process::new(process), folder }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path.join(name)
    }

    fn wait(mut self) -> Ended {
        let status = self.process.wait(PATIENCE).expect("the generator ends");
        let said = std::fs::read_to_string(self.file("log")).unwrap_or_default();
        let report = std::fs::read_to_string(self.file("report.json"))
            .map_or(Value::Null, |text| serde_json::from_str(&text).expect("JSON"));
        if report != Value::Null {
            schema::check(&schema_of_reports(), &report).expect("the report is as its schema says");
            self.report_is_read(&status);
        }
        Ended { status, said, report }
    }

    /// `pitlane-loadgen report` reads what any command wrote, shows its verdict, and ends with its exit status, 4 and all.
    fn report_is_read(&self, status: &ExitStatus) {
        let output = Command::new(binary("pitlane-loadgen"))
            .arg("report")
            .arg(self.file("report.json"))
            .arg("--html")
            .arg(self.file("page.html"))
            .output()
            .expect("pitlane-loadgen");
        let said = String::from_utf8_lossy(&output.stdout);
        assert_eq!(output.status.code(), status.code(), "{said}");
        assert!(said.contains("VALID"), "{said}");
        assert!(std::fs::read_to_string(self.file("page.html")).expect("page").ends_with("</html>\n"));
    }
}

fn schema_of_reports() -> Value {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../loadgen/report.schema.json");
    serde_json::from_str(&std::fs::read_to_string(path).expect("schema")).expect("JSON")
}

impl Ended {
    /// The causes for which it is invalid.
    fn causes(&self) -> Vec<&str> {
        let reasons = self.report["verdict"]["reasons"].as_array().expect("reasons");
        reasons.iter().filter_map(|reason| reason["cause"].as_str()).collect()
    }

    /// Invalid, for this reason among others, by status 3.
    fn assert_invalid(&self, cause: &str, text: &str) {
        assert_eq!(self.status.code(), Some(3), "{}", self.said);
        assert!(self.said.contains("INVALID") && self.said.contains(text), "{}", self.said);
        assert!(self.causes().contains(&cause), "{:?}", self.causes());
        assert_eq!(self.report["verdict"]["valid"], false);
    }
}

/// A short closed loop of two clients.
const SHORT: [&str; 6] = ["--clients", "2", "--warmup", "200ms", "--duration", "500ms"];

fn run(engine: &Engine, words: &[&str]) -> Ended {
    Generator::start(engine, "run", &[&SHORT[..], words].concat()).wait()
}

fn engine(symbols: &[String]) -> Engine {
    let settings = Settings { symbols: symbols.to_vec(), ..Settings::default() };
    Engine::start(&binary("pitlane"), settings).expect("engine")
}

fn apple() -> Vec<String> {
    vec!["AAPL".to_owned()]
}

#[test]
fn a_closed_loop_over_many_instruments_sends_until_its_time_is_over() {
    let symbols: Vec<String> = (1..=100).map(|number| format!("S{number:03}")).collect();
    let engine = engine(&symbols);
    let words = ["--clients", "1", "--window", "34", "--symbols", "S001..S100", "--warmup", "500ms"];
    let more = ["--duration", "1500ms", "--delivery-only"];
    let ended = Generator::start(&engine, "run", &[&words[..], &more].concat()).wait();
    assert_eq!(ended.status.code(), Some(0), "{}", ended.said);
    assert!(ended.report["orders"].as_u64() > Some(0), "{}", ended.said);
    assert_eq!(
        (&ended.report["stopped"], &ended.report["lost"]),
        (&Value::Null, &0.into()),
        "{}",
        ended.said
    );
}

#[test]
fn an_engine_that_dies_leaves_a_report_of_what_was_measured() {
    let mut engine = engine(&apple());
    let words = ["--clients", "2", "--rate", "500", "--warmup", "0s", "--duration", "60s", "--silence", "1s"];
    let generator = Generator::start(&engine, "run", &words);
    let seen = engine.await_metric(&["pitlane_messages_total"], 200.0, PATIENCE).expect("metrics");
    assert!(seen >= 200.0, "{seen} messages");
    engine.process.crash().expect("crash");
    let ended = generator.wait();
    ended.assert_invalid("incomplete", "nothing was heard of the engine");
    ended.assert_invalid("delivery", "orders were lost");
    let Ended { said, report, .. } = ended;
    let failure = report["failure"].as_str().unwrap_or_default();
    assert!(failure.contains("nothing was heard of the engine"), "{said}");
    assert!(report["answered"].as_u64() >= Some(100) && report["latency_ns"]["median"].as_u64() > Some(0));
    let number = |name: &str| report[name].as_u64().expect("a number");
    assert_eq!(number("answered") + number("lost"), number("orders"));
    assert!(number("lost") > 0, "what was under way when it died: {said}");
}

#[test]
fn a_valid_run_ends_with_0_and_with_4_if_it_missed_what_was_required() {
    let engine = engine(&apple());
    let ended = run(
        &engine,
        &["--delivery-only", "--require", "lost=0", "--require", "p99<1h", "--require", "success=1"],
    );
    assert_eq!((ended.status.code(), ended.causes()), (Some(0), vec![]), "{}", ended.said);
    assert!(ended.said.contains("VALID") && ended.said.contains("required p99<1h: met"), "{}", ended.said);
    let ended = run(&engine, &["--delivery-only", "--require", "lost=0", "--require", "p50<1ns"]);
    assert_eq!((ended.status.code(), ended.causes()), (Some(4), vec![]), "{}", ended.said);
    assert!(ended.said.contains("required p50<1ns: MISSED"), "{}", ended.said);
    assert_eq!(ended.report["verdict"]["requirements"][1]["met"], false);
    // What proves nothing cannot miss anything either.
    let ended = run(&engine, &["--symbols", "NOWHERE", "--delivery-only", "--require", "p50<1ns"]);
    assert_eq!(ended.status.code(), Some(3), "{}", ended.said);
}

#[test]
fn a_run_in_which_every_order_was_rejected_is_invalid_and_no_success() {
    let engine = engine(&apple());
    let ended = run(&engine, &["--symbols", "NOWHERE"]);
    ended.assert_invalid("rejected", "100.00% of the orders were rejected");
    assert_eq!((&ended.report["success_rate"], &ended.report["accepted"]), (&0.0.into(), &0.into()));
    assert_eq!(ended.report["rejects"][0]["reason"], "Invalid Symbol");
    assert!(ended.said.contains("Invalid Symbol (0x"), "{}", ended.said);
    // As many as were said to be expected are.
    let ended = run(&engine, &["--symbols", "NOWHERE", "--delivery-only", "--max-rejected", "1"]);
    assert_eq!(ended.status.code(), Some(0), "{}", ended.said);
}

#[test]
fn a_run_that_measured_nothing_is_invalid() {
    let ended = run(&engine(&apple()), &["--orders", "0"]);
    ended.assert_invalid("incomplete", "no order was measured");
}

#[test]
fn a_rate_that_is_not_reached_is_invalid() {
    let ended = run(&engine(&apple()), &["--rate", "100000000"]);
    ended.assert_invalid("rate", "orders/s were reached");
}

#[test]
fn a_late_generator_is_invalid() {
    let ended = run(&engine(&apple()), &["--rate", "1000", "--max-lag", "1ns"]);
    ended.assert_invalid("generator", "the generator was late");
    assert!(ended.report["lag_ns"]["p99_9"].as_u64() > Some(1));
}

#[test]
fn a_generator_that_stood_still_is_invalid_and_service_is_still_the_engine_s() {
    let engine = engine(&apple());
    let words =
        ["--clients", "2", "--rate", "1000", "--warmup", "200ms", "--duration", "3s", "--max-lag", "1h"];
    let generator = Generator::start(&engine, "run", &words);
    engine.await_metric(&["pitlane_messages_total"], 1000.0, PATIENCE).expect("metrics");
    generator.process.signal(Signal::SIGSTOP).expect("stop");
    std::thread::sleep(Duration::from_millis(500));
    generator.process.signal(Signal::SIGCONT).expect("go on");
    let ended = generator.wait();
    ended.assert_invalid("generator", "the generator's own pauses");
    let (response, service) = (&ended.report["latency_ns"]["max"], &ended.report["service_ns"]["median"]);
    assert!(response.as_u64() > Some(400_000_000), "every order it delayed is counted: {response}");
    assert!(service.as_u64() < Some(100_000_000), "{service}");
    assert!(ended.report["generator"]["trusted_percentile"].as_f64() < Some(95.0));
}

#[test]
fn a_warm_up_that_is_too_short_is_invalid() {
    let words = ["--clients", "2", "--warmup", "0s", "--duration", "500ms"];
    let ended = Generator::start(&engine(&apple()), "run", &words).wait();
    ended.assert_invalid("warm_up", "warm-up of 0 s is too short");
}

#[test]
fn an_interrupted_run_leaves_its_report_and_is_invalid() {
    let engine = engine(&apple());
    let generator = Generator::start(
        &engine,
        "run",
        &["--clients", "2", "--rate", "500", "--warmup", "0s", "--duration", "600s"],
    );
    engine.await_metric(&["pitlane_messages_total"], 100.0, PATIENCE).expect("metrics");
    generator.process.signal(Signal::SIGINT).expect("interrupt");
    let ended = generator.wait();
    ended.assert_invalid("incomplete", "it was interrupted");
    assert!(ended.report["orders"].as_u64() > Some(50) && ended.report["lost"] == 0);
}

#[test]
fn what_could_not_be_done_at_all_ends_with_1_and_a_wrong_command_line_with_2() {
    let mut engine = engine(&apple());
    engine.process.crash().expect("crash");
    let ended = run(&engine, &["--connect-timeout", "300ms"]);
    assert_eq!((ended.status.code(), &ended.report), (Some(1), &Value::Null), "{}", ended.said);
    assert!(ended.said.contains("no answer to"), "{}", ended.said);
    let ended = run(&engine, &["--require", "p99<soon"]);
    assert_eq!(ended.status.code(), Some(2), "{}", ended.said);
    assert!(ended.said.contains("expected FIGURE"), "{}", ended.said);
}

#[test]
fn search_curve_and_scale_leave_reports_that_are_read() {
    let engine = engine(&apple());
    let short = ["--warmup", "100ms", "--duration", "200ms", "--delivery-only", "--trials", "1"];
    let search =
        ["--rate-min", "100", "--rate-max", "2000", "--steps", "3", "--limit", "10s", "--clients", "2"];
    let ended = Generator::start(&engine, "search", &[&short[..], &search].concat()).wait();
    assert_eq!(ended.status.code(), Some(0), "{}", ended.said);
    assert_eq!(
        ended.report["found_orders_per_second"], 2000.0,
        "the top of the range is tried: {}",
        ended.said
    );
    assert_eq!(ended.report["limited_by"], "none");

    let hopeless = ["--rate-min", "100", "--rate-max", "2000", "--limit", "1ns", "--clients", "2"];
    let ended = Generator::start(&engine, "search", &[&short[..], &hopeless].concat()).wait();
    assert_eq!(
        (ended.status.code(), &ended.report["limited_by"]),
        (Some(3), &"engine".into()),
        "{}",
        ended.said
    );

    let curve = ["--saturation", "2000", "--clients", "2"];
    let ended = Generator::start(&engine, "curve", &[&short[..], &curve].concat()).wait();
    assert_eq!(ended.status.code(), Some(0), "{}", ended.said);
    let names: Vec<&str> = ended.report["points"]
        .as_array()
        .expect("points")
        .iter()
        .filter_map(|it| it["name"].as_str())
        .collect();
    assert_eq!(
        names,
        ["one in flight", "10%", "20%", "30%", "40%", "50%", "60%", "70%", "80%", "90%", "95%"]
    );
    assert!(ended.report["p50_at_half_ratio"].as_f64() > Some(0.0));

    let ended = Generator::start(&engine, "scale", &[&short[..], &["--counts", "1,2,4"]].concat()).wait();
    assert_eq!(ended.status.code(), Some(0), "{}", ended.said);
    assert!(
        ended.report["fit"]["r_squared"].is_number() && ended.report["points"][2]["efficiency"].is_number()
    );
    assert_eq!(ended.report["points"][0]["efficiency"], 1.0);
}

#[test]
fn an_echo_is_asked_in_a_closed_and_in_an_open_loop() {
    let port = pitlane_tests::engine::free_port();
    let listen = format!("127.0.0.1:{port}");
    let folder = Folder::new("echo").expect("folder");
    let server = Command::new(binary("pitlane"))
        .args(["echo", "--port", "udp", "--listen", &listen])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("pitlane echo");
    let _server = Process::new(server);
    let ask = |name: &str, words: &[&str]| {
        let path = folder.path.join(name);
        let output = Command::new(binary("pitlane-loadgen"))
            .args([
                "echo",
                "--target",
                &listen,
                "--warmup",
                "100ms",
                "--duration",
                "500ms",
                "--quiet",
                "--json",
            ])
            .arg(&path)
            .args(words)
            .output()
            .expect("pitlane-loadgen");
        let said =
            String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        let report: Value =
            serde_json::from_str(&std::fs::read_to_string(&path).expect(&said)).expect("JSON");
        schema::check(&schema_of_reports(), &report).expect("the report is as its schema says");
        (output.status.code(), said, report)
    };
    let (code, said, report) = ask("closed", &["--delivery-only"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(report["latency_ns"]["median"].as_u64() > Some(0) && report["intended_per_second"].is_null());
    let (code, said, report) = ask("open", &["--rate", "1000", "--delivery-only"]);
    assert_eq!((code, &report["round_trips"]), (Some(0), &500.into()), "{said}");
    assert!(report["service_ns"]["median"].as_u64() > Some(0) && report["lag_ns"]["max"].as_u64() > Some(0));
    let (code, said, report) = ask("late", &["--rate", "1000", "--max-lag", "1ns"]);
    assert_eq!((code, &report["verdict"]["valid"]), (Some(3), &false.into()), "{said}");
}

/// Agents on loopback, with a certificate and a token of their own.
struct Fleet {
    folder: Folder,
    agents: Vec<(Process, String)>,
}

impl Fleet {
    fn start(count: usize) -> Fleet {
        let folder = Folder::new("agents").expect("folder");
        let key = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).expect("certificate");
        let file = |name: &str, text: &str| std::fs::write(folder.path.join(name), text).expect("file");
        file("cert.pem", &key.cert.pem());
        file("key.pem", &key.signing_key.serialize_pem());
        file("token", "a token of the tests");
        file("other-token", "another token, not theirs");
        let agent = |_| {
            let listen = format!("127.0.0.1:{}", pitlane_tests::engine::free_port());
            let mut command = Command::new(binary("pitlane-loadgen"));
            command.args(["agent", "--idle", "yield", "--listen", &listen]);
            for (option, name) in
                [("--token-file", "token"), ("--tls-cert", "cert.pem"), ("--tls-key", "key.pem")]
            {
                command.arg(option).arg(folder.path.join(name));
            }
            let process = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().expect("agent");
            (Process::new(process), listen)
        };
        let agents: Vec<(Process, String)> = (0..count).map(agent).collect();
        for (_, listen) in &agents {
            let deadline = std::time::Instant::now() + PATIENCE;
            while std::net::TcpStream::connect(listen).is_err() {
                assert!(std::time::Instant::now() < deadline, "no agent on {listen}");
                std::thread::sleep(Duration::from_millis(10));
            }
        }
        Fleet { folder, agents }
    }

    fn words(&self, token: &str) -> Vec<String> {
        let file = |name: &str| self.folder.path.join(name).to_string_lossy().into_owned();
        let addresses: Vec<&str> = self.agents.iter().map(|(_, listen)| listen.as_str()).collect();
        let words = [
            "--agents",
            &addresses.join(","),
            "--agents-token-file",
            &file(token),
            "--agents-ca",
            &file("cert.pem"),
        ];
        words.map(str::to_owned).to_vec()
    }

    fn run(&self, engine: &Engine, token: &str, words: &[&str]) -> Generator {
        let fleet = self.words(token);
        let words: Vec<&str> = words.iter().copied().chain(fleet.iter().map(String::as_str)).collect();
        Generator::start(engine, "run", &words)
    }
}

#[test]
fn two_agents_make_one_run_whose_figures_add_up() {
    let engine = engine(&apple());
    let fleet = Fleet::start(2);
    let words = [
        "--clients",
        "5",
        "--rate",
        "1000",
        "--warmup",
        "200ms",
        "--duration",
        "1s",
        "--delivery-only",
        "--require",
        "lost=0",
    ];
    let ended = fleet.run(&engine, "token", &words).wait();
    assert_eq!(ended.status.code(), Some(0), "{}", ended.said);
    let report = &ended.report;
    assert_eq!(
        (&report["clients"], &report["threads"], &report["orders"]),
        (&5.into(), &2.into(), &1000.into())
    );
    let users: Vec<&str> = report["per_client_latency"]
        .as_array()
        .expect("clients")
        .iter()
        .filter_map(|it| it["user"].as_str())
        .collect();
    assert_eq!(users, ["C00001", "C00002", "C00003", "C00004", "C00005"], "each client once");
    let agents = report["agents"].as_array().expect("agents");
    assert_eq!(agents.iter().map(|agent| agent["orders"].as_u64().expect("orders")).sum::<u64>(), 1000);
    assert!(agents.iter().all(|agent| agent["failure"].is_null() && agent["orders"] == 500), "{agents:?}");
    // An agent is there for the next run, and a wrong token gets nothing done.
    let ended = fleet.run(&engine, "other-token", &words).wait();
    assert_eq!((ended.status.code(), &ended.report), (Some(1), &Value::Null), "{}", ended.said);
    assert!(ended.said.contains("the token is not that of this agent"), "{}", ended.said);
    let ended = fleet
        .run(
            &engine,
            "token",
            &["--clients", "2", "--window", "1", "--orders", "100", "--warmup", "0s", "--delivery-only"],
        )
        .wait();
    assert_eq!((ended.status.code(), &ended.report["orders"]), (Some(0), &100.into()), "{}", ended.said);
}

#[test]
fn an_agent_that_dies_is_named_and_makes_the_run_invalid() {
    let engine = engine(&apple());
    let mut fleet = Fleet::start(2);
    let words = ["--clients", "2", "--rate", "400", "--warmup", "0s", "--duration", "4s", "--delivery-only"];
    let generator = fleet.run(&engine, "token", &words);
    engine.await_metric(&["pitlane_messages_total"], 200.0, PATIENCE).expect("metrics");
    let lost = fleet.agents[1].1.clone();
    fleet.agents[1].0.crash().expect("crash");
    let ended = generator.wait();
    ended.assert_invalid("incomplete", &format!("agent {lost} brought no result"));
    assert!(ended.report["orders"].as_u64() > Some(100), "what the other measured is there: {}", ended.said);
    assert!(
        ended.report["agents"][0]["failure"].is_null() && ended.report["agents"][1]["failure"].is_string()
    );
}

#[test]
fn a_run_draws_from_the_profile_of_a_file() {
    let engine = engine(&apple());
    let folder = Folder::new("profile").expect("folder");
    let (file, profile) = (folder.path.join("AAPL_day.csv"), folder.path.join("profile.json"));
    // A hundred orders of 700 shares, half of them cancelled, ten executed: LOBSTER's columns are time, type, order, size, price, side.
    let mut rows = String::new();
    for order in 1..=100 {
        rows += &format!("{}.5,1,{order},700,{},1\n", 34_200 + order, 5_850_000 - order % 3 * 100);
    }
    for order in 1..=50 {
        rows += &format!("{}.5,3,{order},700,{},1\n", 34_400 + order, 5_850_000 - order % 3 * 100);
    }
    for order in 51..=60 {
        rows += &format!("{}.5,4,{order},700,{},1\n", 34_500 + order, 5_850_000 - order % 3 * 100);
    }
    std::fs::write(&file, rows).expect("file");
    let output = Command::new(binary("pitlane-loadgen"))
        .arg("profile")
        .arg(&file)
        .arg("--json")
        .arg(&profile)
        .output()
        .expect("pitlane-loadgen");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let measured: Value =
        serde_json::from_str(&std::fs::read_to_string(&profile).expect("profile")).expect("JSON");
    schema::check(&schema_of_reports(), &measured).expect("the profile is as its schema says");
    assert_eq!(
        (&measured["submissions"], &measured["cancels"], &measured["executions"]),
        (&100.into(), &50.into(), &10.into())
    );
    let ended = run(&engine, &["--delivery-only", "--profile", &profile.to_string_lossy()]);
    assert_eq!(ended.status.code(), Some(0), "{}", ended.said);
    assert_eq!(ended.report["mix"]["profile"], "AAPL_day.csv");
    assert_eq!(
        (&ended.report["mix"]["quantity_max"], &ended.report["mix"]["enter"]),
        (&700.into(), &110.into())
    );
    let ended = run(&engine, &["--profile", &file.to_string_lossy()]);
    assert!(ended.status.code() == Some(1) && ended.said.contains("expected a profile"), "{}", ended.said);
}
