package auth_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"pgdrover/internal/auth"
	"pgdrover/internal/pgtest"
)

// PostgreSQL's own reader must agree about which lines are right. Each line is given to both alone; what we refuse
// knowingly, and what PostgreSQL allows only in later versions, is in TestHBAMatch and TestHBAErrors.
func TestHBALinesAsPostgres(t *testing.T) {
	t.Parallel()
	pg := pgtest.Start(t)
	for _, line := range []string{
		"local all all trust",
		"local all all peer map=x",
		"local all all ident",
		"local all all 127.0.0.1/32 trust",
		"host all all 127.0.0.1/32 md5",
		"host all all 127.0.0.1 255.255.255.255 md5",
		"host all all 127.0.0.1 255.0.255.0 md5",
		"host all all 127.0.0.1/33 md5",
		"host all all 127.0.0.1/ md5",
		"host all all 127.0.0.1",
		"host all all ::1/128 scram-sha-256",
		"host all all ::1 ffff:: password",
		"host all all ::1 255.0.0.0 password",
		"host all all all reject",
		"host all all samehost,samenet reject",
		"host all all samenet reject",
		"host all all all nonsense",
		"host all all all peer",
		"host all all all cert",
		"host all all all trust a=b",
		"host all all all trust map=x",
		"host all all all trust clientcert=verify-ca",
		`host "all,x" "a b",c all trust`,
		`host a,"b""c",d all all trust # comment`,
		"host a,b , c all trust",
		"host a, b c all trust",
		"host replication,sameuser all all trust",
		"hostnossl all all all trust",
		"hostnogssenc all all all trust",
		"hosts all all all trust",
		"local all",
		"local",
		`local "a" "" trust`,
		"host all all all trust,md5",
	} {
		file := filepath.Join(pg.DataDir, "pg_hba.conf")
		if err := os.WriteFile(file, []byte(line+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		theirs := pg.MustValue(t, "postgres", "SELECT count(*) || ' ' || coalesce(string_agg(error, ''), "+
			"string_agg(array_to_string(database, '|') || ' ' || array_to_string(user_name, '|'), '')) FROM pg_hba_file_rules")
		_, err := auth.ParseHBA("pg_hba.conf", []byte(line))
		accepted := pg.MustValue(t, "postgres", "SELECT count(*) FROM pg_hba_file_rules WHERE error IS NULL") == "1"
		if accepted != (err == nil) {
			t.Errorf("%s\nPostgreSQL: %s\nwe: %s", line, theirs, strings.TrimSpace(fmt.Sprint(err)))
		}
	}
}
