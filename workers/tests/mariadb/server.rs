//! Private MariaDB servers for this test binary: a source and a target, on free loopback ports, gone with it.

use std::{
    fs,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::OnceLock,
    time::{Duration, Instant},
};

use lagan_schemas::plan::TlsMode;
use lagan_workers::{
    connection::{Connection, ConnectionTls},
    mariadb::{ClientVersion, SqlClient},
    process::{Guard, Spawner},
};
use tokio_util::sync::CancellationToken;

pub const MARIADB: &str = "/usr/bin/mariadb";
pub const DUMP: &str = "/usr/bin/mariadb-dump";

pub struct TestServer {
    pub port: u16,
    pub directory: PathBuf,
    /// The shell that kills the server and removes its data when its stdin closes, which it does when this
    /// process ends, however it ends.
    _watcher: Child,
}

/// The server that is dumped; it has TLS and a certificate for `localhost`.
pub fn source() -> &'static TestServer {
    static SOURCE: OnceLock<TestServer> = OnceLock::new();
    SOURCE.get_or_init(|| TestServer::start(WithTls::Yes, ""))
}

/// The server that is restored into; it has no TLS.
pub fn target() -> &'static TestServer {
    static TARGET: OnceLock<TestServer> = OnceLock::new();
    TARGET.get_or_init(|| TestServer::start(WithTls::No, ""))
}

/// A server of a test's own.
pub fn other(options: &str) -> TestServer {
    TestServer::start(WithTls::No, options)
}

/// The data of a server that nobody has used yet; to copy it is faster than to make it.
fn template() -> &'static Path {
    static TEMPLATE: OnceLock<(PathBuf, Child)> = OnceLock::new();
    let (data, _watcher) = TEMPLATE.get_or_init(|| {
        let directory = tempfile::Builder::new().prefix("lagan-mariadb-").tempdir().unwrap().keep();
        let script = format!("cat >/dev/null; rm -rf {}", directory.display());
        let watcher = Command::new("sh").args(["-c", &script]).stdin(Stdio::piped()).spawn().unwrap();
        let data = directory.join("data");
        let installed = Command::new("mariadb-install-db")
            .args(["--no-defaults", "--user=root", "--auth-root-authentication-method=normal", "--skip-test-db"])
            .args(["--innodb-log-file-size=8M".to_owned(), format!("--tmpdir={}", directory.display())])
            .arg(format!("--datadir={}", data.display()))
            .output()
            .expect("mariadb-install-db is installed");
        assert!(installed.status.success(), "{}", String::from_utf8_lossy(&installed.stderr));
        (data, watcher)
    });
    data
}

/// A server without the databases of other tests, all of which can be dumped.
pub fn alone() -> &'static TestServer {
    static ALONE: OnceLock<TestServer> = OnceLock::new();
    ALONE.get_or_init(|| TestServer::start(WithTls::No, ""))
}

#[derive(PartialEq, Eq)]
enum WithTls {
    Yes,
    No,
}

pub fn spawner() -> Spawner {
    Spawner::new(Guard::None)
}

impl TestServer {
    fn start(tls: WithTls, more: &str) -> Self {
        let directory = tempfile::Builder::new().prefix("lagan-mariadb-").tempdir().unwrap().keep();
        let data = directory.join("data");
        let copied = Command::new("cp").arg("-r").arg(template()).arg(&data).status().unwrap();
        assert!(copied.success());
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut options = format!(
            "--no-defaults --user=root --datadir={1} --port={port} --bind-address=127.0.0.1 --socket={0}/socket \
             --tmpdir={0} --innodb-log-file-size=8M \
             --max-allowed-packet=64M --innodb-flush-log-at-trx-commit=0 {more}",
            directory.display(),
            data.display()
        );
        if tls == WithTls::Yes {
            certificates(&directory);
            let d = directory.display();
            options += &format!(" --ssl-ca={d}/ca.pem --ssl-cert={d}/server.pem --ssl-key={d}/server.key");
        }
        let script = format!(
            "mariadbd {options} >{0}/log 2>&1 & server=$!; cat >/dev/null; kill -KILL $server; wait; rm -rf {0}",
            directory.display()
        );
        let watcher = Command::new("sh").args(["-c", &script]).stdin(Stdio::piped()).spawn().unwrap();
        let server = Self { port, directory, _watcher: watcher };
        let since = Instant::now();
        while !server.sql_ok("SELECT 1") {
            assert!(
                since.elapsed() < Duration::from_secs(60),
                "{:?}",
                fs::read_to_string(server.directory.join("log"))
            );
            std::thread::sleep(Duration::from_millis(100));
        }
        server
            .sql("CREATE USER lagan@'%' IDENTIFIED BY 'geheim-4711'; GRANT ALL ON *.* TO lagan@'%' WITH GRANT OPTION");
        server
    }

    fn admin(&self) -> Command {
        let mut command = Command::new(MARIADB);
        command.args(["--no-defaults", "-uroot", "--default-character-set=utf8mb4", "--comments", "--binary-mode"]);
        command.args(["--batch", "--skip-column-names", "--raw", "-S"]).arg(self.directory.join("socket"));
        command
    }

    fn sql_ok(&self, sql: &str) -> bool {
        self.admin().args(["-e", sql]).stderr(Stdio::null()).stdout(Stdio::null()).status().unwrap().success()
    }

    /// Runs a script as root and returns what it answers.
    pub fn sql(&self, script: &str) -> String {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), script).unwrap();
        let output = self.admin().stdin(fs::File::open(file.path()).unwrap()).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    pub fn connection(&self) -> Connection {
        self.connection_as("lagan", "geheim-4711")
    }

    pub fn connection_as(&self, user: &str, password: &str) -> Connection {
        Connection {
            host: "127.0.0.1".into(),
            port: self.port,
            user: user.into(),
            password: password.into(),
            tls: ConnectionTls::of_mode(TlsMode::Preferred),
        }
    }

    pub fn client(&self) -> SqlClient {
        client(self.connection())
    }

    pub fn client_as(&self, user: &str) -> SqlClient {
        client(self.connection_as(user, "geheim-4711"))
    }
}

pub fn client(connection: Connection) -> SqlClient {
    let said = Command::new(MARIADB).args(["--no-defaults", "--version"]).output().unwrap().stdout;
    SqlClient {
        spawner: spawner(),
        mariadb: MARIADB.into(),
        version: ClientVersion::parse(&String::from_utf8_lossy(&said)).unwrap(),
        connection,
        cancel: CancellationToken::new(),
    }
}

fn certificates(directory: &Path) {
    let openssl = |args: &str| {
        let output = Command::new("openssl")
            .args(args.split(' '))
            .current_dir(directory)
            .output()
            .expect("openssl is installed");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    fs::write(directory.join("names"), "subjectAltName=DNS:localhost").unwrap();
    for ca in ["ca", "other"] {
        openssl(&format!(
            "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout {ca}.key -out {ca}.pem -days 2 -subj /CN={ca}"
        ));
    }
    openssl(
        "req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout server.key -out server.csr -subj /CN=localhost",
    );
    openssl("x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile names -out server.pem");
}
