package config

import (
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// pgbouncerSettings are PgBouncer 1.25's settings; those that its SHOW CONFIG calls not changeable end in !.
const pgbouncerSettings = `
admin_users application_name_add_host auth_dbname auth_file auth_hba_file auth_ident_file auth_ldap_options auth_query
auth_type auth_user autodb_idle_timeout cancel_wait_timeout client_idle_timeout client_login_timeout client_tls13_ciphers
client_tls_ca_file client_tls_cert_file client_tls_ciphers client_tls_dheparams client_tls_ecdhcurve client_tls_key_file
client_tls_protocols client_tls_sslmode conffile default_pool_size disable_pqexec! dns_max_ttl dns_nxdomain_ttl
dns_zone_check_period idle_transaction_timeout ignore_startup_parameters job_name! listen_addr! listen_backlog! listen_port!
log_connections log_disconnections log_pooler_errors log_stats logfile login_notify_message max_client_conn
max_db_client_connections max_db_connections max_packet_size max_prepared_statements max_user_client_connections
max_user_connections min_pool_size peer_id pidfile! pkt_buf! pool_idle_timeout pool_mode query_timeout query_wait_notify
query_wait_timeout reserve_pool_size reserve_pool_timeout resolv_conf! sbuf_loopcnt scram_iterations server_check_delay
server_check_query server_connect_timeout server_fast_close server_idle_timeout server_lifetime server_login_retry
server_reset_query server_reset_query_always server_round_robin server_tls13_ciphers server_tls_ca_file server_tls_cert_file
server_tls_ciphers server_tls_key_file server_tls_protocols server_tls_sslmode so_reuseport! stats_period stats_users
suspend_timeout syslog syslog_facility syslog_ident tcp_defer_accept tcp_keepalive tcp_keepcnt tcp_keepidle tcp_keepintvl
tcp_socket_buffer tcp_user_timeout track_extra_parameters! transaction_timeout unix_socket_dir! unix_socket_group!
unix_socket_mode! user! verbose`

func TestTheTableHasPgBouncersSettings(t *testing.T) {
	t.Parallel()
	theirs := map[string]bool{}
	for name := range strings.FieldsSeq(pgbouncerSettings) {
		changeable := !strings.HasSuffix(name, "!")
		name = strings.TrimSuffix(name, "!")
		theirs[name] = true
		s, ok := Lookup(name)
		if !ok {
			t.Errorf("%s is missing", name)
			continue
		}
		if s.Changeable() != changeable {
			t.Errorf("%s: changeable is %v, want %v", name, s.Changeable(), changeable)
		}
		if s.Own {
			t.Errorf("%s is PgBouncer's but marked as ours", name)
		}
	}
	for _, s := range Table() {
		if !theirs[s.Name] && !s.Own {
			t.Errorf("%s is not PgBouncer's and not marked as ours", s.Name)
		}
	}
}

func TestEveryFieldOfSettingsHasOneRow(t *testing.T) {
	t.Parallel()
	var s Settings
	fields := reflect.ValueOf(&s).Elem()
	rows := map[any]string{}
	for _, r := range settingsTable.rows {
		p := r.field(&s)
		if other, twice := rows[p]; twice {
			t.Errorf("%s and %s have the same field", r.Name, other)
		}
		rows[p] = r.Name
	}
	for i := range fields.NumField() {
		if _, ok := rows[fields.Field(i).Addr().Interface()]; !ok {
			t.Errorf("field %s has no row", fields.Type().Field(i).Name)
		}
	}
}

func checkRows[T any](t *testing.T, tab *table[T]) {
	t.Helper()
	names := map[string]bool{}
	for _, r := range tab.rows {
		for _, n := range append([]string{r.Name}, r.Aliases...) {
			if names[n] {
				t.Errorf("the name %s is there twice", n)
			}
			names[n] = true
		}
		if r.Meaning == "" || r.Group == "" || !strings.HasSuffix(r.Meaning, ".") {
			t.Errorf("%s: meaning or group is missing or does not end with a stop", r.Name)
		}
		// Each row's field must take what its kind parses to, and show it again.
		sample := map[Kind]string{
			KindString: "text", KindInt: "7", KindBool: "1", KindDuration: "2.5", KindList: "a,b", KindSize: "4096", KindMode: "63",
		}[r.Kind]
		if r.Kind == KindEnum {
			sample = r.Words[len(r.Words)-1]
		}
		if r.Kind == KindString && r.check != nil && r.check(sample) != nil {
			sample = "secure"
		}
		parsed, err := r.parse(value{sample, dialectINI})
		if err != nil {
			t.Errorf("%s: %v", r.Name, err)
			continue
		}
		var target T
		store(r.field(&target), parsed)
		want := sample
		if r.Secret {
			want = "****"
		}
		if got := r.show(&target); got != want {
			t.Errorf("%s shows as %q, want %q", r.Name, got, want)
		}
		if _, ok := tomlValue(tomlOf(parsed)); !ok {
			t.Errorf("%s cannot be kept in %s", r.Name, autoFileName)
		}
	}
}

func TestRows(t *testing.T) {
	t.Parallel()
	checkRows(t, settingsTable)
	checkRows(t, databaseTable)
	checkRows(t, userTable)
	checkRows(t, peerTable)
}

func TestDefaultsShowAsPgBouncerShowsThem(t *testing.T) {
	t.Parallel()
	var s Settings
	defaults(&s)
	for name, want := range map[string]string{
		"unix_socket_mode": "511", "log_stats": "1", "server_lifetime": "3600", "pool_mode": "session",
		"auth_type": "md5", "track_extra_parameters": "IntervalStyle", "auth_file": "", "server_check_query": "<empty>",
		"max_packet_size": "2147483647", "client_tls13_ciphers": "", "no_such_setting": "",
	} {
		if got := FormatValue(&s, name); got != want {
			t.Errorf("%s shows as %q, want %q", name, got, want)
		}
	}
	s.ReservePoolTimeout = 500_000_000
	if got := FormatValue(&s, "reserve_pool_timeout"); got != "0.5" {
		t.Errorf("half a second shows as %q", got)
	}
}

const root = "../../"

func TestReferenceIsUpToDate(t *testing.T) {
	t.Parallel()
	golden(t, root+"docs/config.md", Reference())
}

func TestExampleIsUpToDate(t *testing.T) {
	t.Parallel()
	golden(t, root+"config.toml.example", Example())
}

func TestExampleLoads(t *testing.T) {
	t.Parallel()
	everything := regexp.MustCompile(`(?m)^#(\w+ = )`).ReplaceAllString(Example(), "$1")
	for name, text := range map[string]string{"as it is": Example(), "with every line in force": everything} {
		path := filepath.Join(t.TempDir(), "config.toml")
		write(t, path, text)
		cfg, warnings, err := Load(path)
		if err != nil || len(warnings) > 0 {
			t.Fatalf("%s: %v %v", name, err, warnings)
		}
		if cfg.Databases["shop"] == nil || cfg.Databases["shop"].User != "shop" || cfg.PoolMode != PoolTransaction {
			t.Errorf("%s: not what it says: %+v", name, cfg.Databases["shop"])
		}
	}
	var s Settings
	defaults(&s)
	path := filepath.Join(t.TempDir(), "config.toml")
	write(t, path, everything)
	cfg, _, err := Load(path)
	if err != nil {
		t.Fatal(err)
	}
	own := []string{"listen_addr", "pool_mode", "auth_type", "admin_users", "conffile", "auto_config_file"}
	for _, r := range settingsTable.rows {
		if !slices.Contains(own, r.Name) && r.show(&cfg.Settings) != r.show(&s) {
			t.Errorf("%s in the example is %q, the default is %q", r.Name, r.show(&cfg.Settings), r.show(&s))
		}
		if !strings.Contains(everything, "\n"+r.Name+" = ") {
			t.Errorf("%s is not in the example", r.Name)
		}
	}
}

func TestSecretsDoNotPrint(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"password", "url", "dsn", "auth_ldap_options"} {
		if !IsSecret(name) {
			t.Errorf("%s is not secret", name)
		}
	}
	if IsSecret("password_file") || IsSecret("nothing") {
		t.Error("too much is secret")
	}
}
