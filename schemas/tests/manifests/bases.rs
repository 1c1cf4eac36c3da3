//! One valid manifest of each kind, one field a line, for the tests to break.

pub const CONFIGURATION: &str = "\
apiVersion: lagan.dev/v1alpha1
kind: BackupConfiguration
metadata:
  name: shop
  namespace: demo
spec:
  schedule: '0 2 * * *'
  timeZone: Europe/Berlin
  startingDeadlineSeconds: 600
  concurrencyPolicy: Forbid
  repository:
    name: repo
  target:
    ref:
      apiVersion: appcatalog.appscode.com/v1alpha1
      kind: AppBinding
      name: db
  retentionPolicy:
    name: few
    keepLast: 5
";

pub const REPOSITORY: &str = "\
apiVersion: lagan.dev/v1alpha1
kind: Repository
metadata:
  name: repo
  namespace: demo
spec:
  backend:
    storageSecretName: storage
    s3:
      endpoint: https://s3.example.org:9000
      bucket: backups
      prefix: demo/shop
";

pub const LOCAL: &str = "\
apiVersion: lagan.dev/v1alpha1
kind: Repository
metadata:
  name: repo
  namespace: demo
spec:
  backend:
    storageSecretName: storage
    local:
      hostPath:
        path: /srv/backups
      mountPath: /safe/data
      subPath: shop
";

pub const BINDING: &str = "\
apiVersion: appcatalog.appscode.com/v1alpha1
kind: AppBinding
metadata:
  name: db
  namespace: demo
spec:
  type: mariadb
  clientConfig:
    url: mysql://db.example.org:3306/
";

pub const SERVICE: &str = "\
apiVersion: appcatalog.appscode.com/v1alpha1
kind: AppBinding
metadata:
  name: db
  namespace: demo
spec:
  type: mariadb
  clientConfig:
    service:
      scheme: mysql
      name: db
      port: 3306
";

pub const RESTORE: &str = "\
apiVersion: lagan.dev/v1alpha1
kind: RestoreSession
metadata:
  name: back
  namespace: demo
spec:
  repository:
    name: repo
  target:
    ref:
      apiVersion: appcatalog.appscode.com/v1alpha1
      kind: AppBinding
      name: db
    rules:
    - snapshots: [latest]
";

pub const SESSION: &str = "\
apiVersion: lagan.dev/v1alpha1
kind: BackupSession
metadata:
  name: shop-now
  namespace: demo
spec:
  invoker:
    apiGroup: lagan.dev
    kind: BackupConfiguration
    name: shop
";

pub const TASK: &str = "\
apiVersion: lagan.dev/v1alpha1
kind: Task
metadata:
  name: dump
spec:
  steps:
  - name: dump
";

pub const FUNCTION: &str = "\
apiVersion: lagan.dev/v1alpha1
kind: Function
metadata:
  name: dump
spec:
  database: MariaDB
  command: [mariadb-dump]
  stream:
    stdout: dumpfile.sql
";
