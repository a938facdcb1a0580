# Run once by the entry of the image, on an empty data folder: a database for each service, which nobody else opens. The
# passwords are files that only PostgreSQL reads.
set -euo pipefail
for service in cluster deploy network metrics; do
  # Over standard input: what stands in a command line is seen by everybody on the machine.
  psql --no-psqlrc --quiet --set ON_ERROR_STOP=1 --username "${POSTGRES_USER:-postgres}" --dbname postgres <<SQL
CREATE ROLE $service LOGIN PASSWORD '$(cat "/run/secrets/postgres/$service")';
CREATE DATABASE $service OWNER $service;
REVOKE CONNECT ON DATABASE $service FROM PUBLIC;
SQL
done
