#!/bin/sh
# The entry point of mariadb:dev: initialises an empty data folder, then becomes the server.
set -eu

data=/var/lib/mysql
: "${MARIADB_ROOT_PASSWORD:?must be set}"
[ -d $data/mysql ] || mariadb-install-db --no-defaults --datadir=$data --auth-root-authentication-method=normal \
    --skip-test-db >/dev/null

# The server reads this file at each start. In argv the password would be visible to every user of the machine.
umask 077
quoted=$(printf %s "$MARIADB_ROOT_PASSWORD" | sed -e 's/\\/\\\\/g' -e "s/'/''/g")
cat >/tmp/root.sql <<SQL
ALTER USER root@localhost IDENTIFIED BY '$quoted';
CREATE USER IF NOT EXISTS root@'%';
ALTER USER root@'%' IDENTIFIED BY '$quoted';
GRANT ALL ON *.* TO root@'%' WITH GRANT OPTION;
SQL
exec mariadbd --no-defaults --datadir=$data --bind-address=0.0.0.0 --socket=/tmp/mysqld.sock --init-file=/tmp/root.sql \
    --skip-name-resolve --event-scheduler=OFF "$@"
