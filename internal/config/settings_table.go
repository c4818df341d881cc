package config

import "time"

// The words of settings that take one of several.
var (
	poolModeWords = []string{"session", "transaction", "statement"}
	authTypeWords = []string{"any", "trust", "plain", "md5", "cert", "hba", "ldap", "pam", "peer", "scram-sha-256"}
	sslModeWords  = []string{"disable", "allow", "prefer", "require", "verify-ca", "verify-full"}
	facilityWords = []string{
		"auth", "authpriv", "daemon", "user",
		"local0", "local1", "local2", "local3", "local4", "local5", "local6", "local7",
	}
)

// defaultAuthQuery is PgBouncer's.
const defaultAuthQuery = "SELECT rolname, CASE WHEN rolvaliduntil < now() THEN NULL ELSE rolpassword END" +
	" FROM pg_authid WHERE rolname=$1 AND rolcanlogin"

// settingsTable has one row per global setting, in the order of SHOW CONFIG and of the documentation.
var settingsTable = newTable(
	inGroup("Listening and process", listeningRows()...),
	inGroup("Pools and limits", poolRows()...),
	inGroup("Authentication", authRows()...),
	inGroup("Log and administration", logRows()...),
	inGroup("Server checks and timeouts", serverTimeRows()...),
	inGroup("Client timeouts", clientTimeRows()...),
	inGroup("TLS", tlsRows()...),
	inGroup("Network and buffers", networkRows()...),
)

func listeningRows() []*row[Settings] {
	type s = Settings
	return []*row[s]{
		listRow("listen_addr", "", Restart, "Addresses or host names to listen on for TCP; * is all of them, empty is none.",
			func(s *s) *string { return &s.ListenAddr }),
		intRow("listen_port", "6432", Restart, "TCP port; also part of the Unix socket's name.",
			func(s *s) *int { return &s.ListenPort }).within(0, 65535),
		textRow("unix_socket_dir", "/tmp", Restart, "Folder of the Unix socket; @name is an abstract one, empty is none. Servers without a host are looked for here too.",
			func(s *s) *string { return &s.UnixSocketDir }),
		newRow(KindMode, "unix_socket_mode", "0777", Restart, "Permission bits of the Unix socket.",
			func(s *s) *int { return &s.UnixSocketMode }),
		textRow("unix_socket_group", "", Restart, "Group that owns the Unix socket.",
			func(s *s) *string { return &s.UnixSocketGroup }),
		textRow("user", "", Restart, "System user to become at start, as root; without it a pgdrover that is started as root stays root, and says so.",
			func(s *s) *string { return &s.User }).sticky(),
		fileRow("pidfile", "", Restart, "File that holds the process number while running.",
			func(s *s) *string { return &s.PidFile }),
		fileRow("conffile", "", Live, "Configuration file that the next reload reads; the one given at start unless set.",
			func(s *s) *string { return &s.ConfFile }).sticky(),
		fileRow("auto_config_file", "", Restart, "File in which ALTER SYSTEM, ALTER DATABASE and ALTER USER keep their values; config.auto.toml beside the configuration file unless set. Configurations in one folder share that, so all but one should set it.",
			func(s *s) *string { return &s.AutoConfigFile }).own(),
		textRow("job_name", "pgbouncer", Restart, "Name of the service.",
			func(s *s) *string { return &s.JobName }).alias("service_name"),
		intRow("peer_id", "0", Live, "Number of this process among its peers; 0 switches peering off.",
			func(s *s) *int { return &s.PeerID }).within(0, 16383),
		timeRow("stats_period", "60", Live, "How often averages are computed and statistics are logged.",
			func(s *s) *time.Duration { return &s.StatsPeriod }).checked(positiveDuration),
	}
}

func poolRows() []*row[Settings] {
	type s = Settings
	return []*row[s]{
		wordRow("pool_mode", "session", poolModeWords, NewClients, "When a server goes back to its pool: as the client leaves, after each transaction, or after each statement.",
			func(s *s) *PoolMode { return &s.PoolMode }),
		intRow("max_client_conn", "100", Live, "Most client connections altogether.",
			func(s *s) *int { return &s.MaxClientConn }),
		intRow("default_pool_size", "20", Live, "Most server connections of one pool (database and user).",
			func(s *s) *int { return &s.DefaultPoolSize }),
		intRow("min_pool_size", "0", Live, "Server connections that a pool keeps open while it is in use or has a forced user.",
			func(s *s) *int { return &s.MinPoolSize }),
		intRow("reserve_pool_size", "0", Live, "Server connections that a pool may open beyond its size when clients wait for long.",
			func(s *s) *int { return &s.ReservePoolSize }).alias("reserve_pool"),
		timeRow("reserve_pool_timeout", "5", Live, "How long a client must have waited before the reserve is used; 0 never uses it.",
			func(s *s) *time.Duration { return &s.ReservePoolTimeout }),
		intRow("max_db_connections", "0", Live, "Most server connections of one database over all its pools; 0 is no limit.",
			func(s *s) *int { return &s.MaxDBConnections }),
		intRow("max_db_client_connections", "0", Live, "Most client connections of one database; 0 is no limit.",
			func(s *s) *int { return &s.MaxDBClientConnections }),
		intRow("max_user_connections", "0", Live, "Most server connections of one server user over all pools; 0 is no limit.",
			func(s *s) *int { return &s.MaxUserConnections }),
		intRow("max_user_client_connections", "0", Live, "Most client connections of one login user; 0 is no limit.",
			func(s *s) *int { return &s.MaxUserClientConns }),
		boolRow("server_round_robin", "0", Live, "Use the server that has been idle longest instead of the one used last.",
			func(s *s) *bool { return &s.ServerRoundRobin }),
		intRow("max_prepared_statements", "200", NewClients, "Prepared statements kept on each server in transaction and statement mode; 0 switches the tracking of them off.",
			func(s *s) *int { return &s.MaxPreparedStatements }),
		listRow("track_extra_parameters", "IntervalStyle", Restart, "Further parameters that follow each client from server to server.",
			func(s *s) *[]string { return &s.TrackExtraParameters }),
		listRow("ignore_startup_parameters", "", NewClients, "Startup parameters that are accepted and dropped; options means unknown ones inside options.",
			func(s *s) *[]string { return &s.IgnoreStartupParameters }),
		boolRow("disable_pqexec", "0", Restart, "Refuse the simple query protocol, which can carry several statements.",
			func(s *s) *bool { return &s.DisablePQExec }),
		boolRow("application_name_add_host", "0", NewClients, "Append the client's address to application_name.",
			func(s *s) *bool { return &s.ApplicationNameAddHost }),
		timeRow("autodb_idle_timeout", "3600", Live, "After how long without use a database made from * is forgotten.",
			func(s *s) *time.Duration { return &s.AutodbIdleTimeout }),
		timeRow("pool_idle_timeout", "0", Live, "After how long an empty pool is dropped together with its statistics; 0 is never.",
			func(s *s) *time.Duration { return &s.PoolIdleTimeout }),
	}
}

func authRows() []*row[Settings] {
	type s = Settings
	return []*row[s]{
		wordRow("auth_type", "md5", authTypeWords, NewClients, "How clients prove who they are.",
			func(s *s) *string { return &s.AuthType }),
		fileRow("auth_file", "", NewClients, "File of users and passwords, one \"user\" \"password\" a line. Passwords of [users] win over it.",
			func(s *s) *string { return &s.AuthFile }).sticky(),
		fileRow("auth_hba_file", "", NewClients, "File of access rules for auth_type hba.",
			func(s *s) *string { return &s.AuthHBAFile }),
		fileRow("auth_ident_file", "", NewClients, "File of user name maps for cert and peer.",
			func(s *s) *string { return &s.AuthIdentFile }).sticky(),
		textRow("auth_user", "", NewClients, "User that runs auth_query; its password comes from [users] or auth_file.",
			func(s *s) *string { return &s.AuthUser }).sticky(),
		textRow("auth_query", defaultAuthQuery, NewClients, "Query for the password of a user for whom none is given; two columns, $1 is the user.",
			func(s *s) *string { return &s.AuthQuery }),
		textRow("auth_dbname", "", NewClients, "Database in which auth_query runs; the client's own unless set.",
			func(s *s) *string { return &s.AuthDBName }).sticky().checked(notAdminDatabase),
		textRow("auth_ldap_options", "", NewClients, "LDAP options for auth_type ldap.",
			func(s *s) *string { return &s.AuthLDAPOptions }).sticky().secret(),
		intRow("scram_iterations", "4096", NewClients, "Iterations of SCRAM secrets that are made from plain passwords.",
			func(s *s) *int { return &s.ScramIterations }).within(1, maxInt32),
	}
}

func logRows() []*row[Settings] {
	type s = Settings
	return []*row[s]{
		fileRow("logfile", "", Live, "Log file, opened anew at each reload.",
			func(s *s) *string { return &s.LogFile }),
		wordRow("log_format", "pgbouncer", []string{"pgbouncer", "json", "console"}, Live, "Shape of log lines.",
			func(s *s) *string { return &s.LogFormat }).own(),
		boolRow("syslog", "0", Live, "Log to syslog.",
			func(s *s) *bool { return &s.Syslog }),
		textRow("syslog_ident", "pgbouncer", Live, "Name under which syslog lines appear.",
			func(s *s) *string { return &s.SyslogIdent }),
		wordRow("syslog_facility", "daemon", facilityWords, Live, "Facility of syslog lines.",
			func(s *s) *string { return &s.SyslogFacility }),
		boolRow("log_connections", "1", Live, "Log logins.",
			func(s *s) *bool { return &s.LogConnections }),
		boolRow("log_disconnections", "1", Live, "Log the end of connections, with the reason.",
			func(s *s) *bool { return &s.LogDisconnects }),
		boolRow("log_pooler_errors", "1", Live, "Log the errors that clients are sent.",
			func(s *s) *bool { return &s.LogPoolerErrors }),
		boolRow("log_stats", "1", Live, "Log statistics every stats_period.",
			func(s *s) *bool { return &s.LogStats }),
		timeRow("log_slow_wait", "0", Live, "Log each client that waited longer than this for a server; 0 is never.",
			func(s *s) *time.Duration { return &s.LogSlowWait }).own(),
		boolRow("log_queries", "0", Live, "Allow query texts in the log and in SHOW WAITERS; otherwise only the command word appears.",
			func(s *s) *bool { return &s.LogQueries }).own(),
		intRow("verbose", "0", Live, "How much more is logged: 0 usual, 1 debug, 2 and more everything.",
			func(s *s) *int { return &s.Verbose }).sticky(),
		listRow("admin_users", "", Live, "Users who may do everything in the admin database.",
			func(s *s) *[]string { return &s.AdminUsers }),
		listRow("stats_users", "", Live, "Users who may look at everything in the admin database.",
			func(s *s) *[]string { return &s.StatsUsers }),
	}
}

func serverTimeRows() []*row[Settings] {
	type s = Settings
	return []*row[s]{
		textRow("server_reset_query", "DISCARD ALL", Live, "Query that clears a server before the next client gets it, in session mode.",
			func(s *s) *string { return &s.ServerResetQuery }),
		boolRow("server_reset_query_always", "0", Live, "Run server_reset_query in every pool mode.",
			func(s *s) *bool { return &s.ServerResetQueryAlways }),
		timeRow("server_check_delay", "30", Live, "How long a server may have been idle before it is checked on its next use; 0 always checks.",
			func(s *s) *time.Duration { return &s.ServerCheckDelay }),
		textRow("server_check_query", "<empty>", Live, "Query of that check; <empty> is an empty query, an empty value is no check.",
			func(s *s) *string { return &s.ServerCheckQuery }),
		boolRow("server_fast_close", "0", Live, "In session mode, close servers that are to be replaced at the end of the transaction, together with the client.",
			func(s *s) *bool { return &s.ServerFastClose }),
		timeRow("server_lifetime", "3600", Live, "Age after which an idle server is closed; 0 uses each connection once.",
			func(s *s) *time.Duration { return &s.ServerLifetime }),
		timeRow("server_idle_timeout", "600", Live, "How long a server may be idle before it is closed; 0 is for ever.",
			func(s *s) *time.Duration { return &s.ServerIdleTimeout }),
		timeRow("server_connect_timeout", "15", Live, "Time for connecting and logging in to a server.",
			func(s *s) *time.Duration { return &s.ServerConnectTimeout }),
		timeRow("server_login_retry", "15", Live, "Pause after a failed server login, during which clients get the same error at once.",
			func(s *s) *time.Duration { return &s.ServerLoginRetry }),
		timeRow("dns_max_ttl", "15", Live, "How long addresses of host names are remembered.",
			func(s *s) *time.Duration { return &s.DNSMaxTTL }),
		timeRow("dns_nxdomain_ttl", "15", Live, "How long failed name lookups are remembered.",
			func(s *s) *time.Duration { return &s.DNSNXDomainTTL }),
		timeRow("dns_zone_check_period", "0", Live, "How often the serial numbers of DNS zones are looked at; 0 is never.",
			func(s *s) *time.Duration { return &s.DNSZoneCheckPeriod }),
		fileRow("resolv_conf", "", Restart, "File to use instead of /etc/resolv.conf.",
			func(s *s) *string { return &s.ResolvConf }),
		timeRow("suspend_timeout", "10", Live, "How long SUSPEND waits for buffers to drain.",
			func(s *s) *time.Duration { return &s.SuspendTimeout }),
	}
}

func clientTimeRows() []*row[Settings] {
	type s = Settings
	return []*row[s]{
		timeRow("client_login_timeout", "60", Live, "Time for a client to log in.",
			func(s *s) *time.Duration { return &s.ClientLoginTimeout }),
		timeRow("client_idle_timeout", "0", Live, "How long a client without a server may be silent before it is closed; 0 is for ever.",
			func(s *s) *time.Duration { return &s.ClientIdleTimeout }),
		timeRow("query_timeout", "0", Live, "Longest run of a query, waiting included, before its client is closed; 0 is no limit. Not for replication connections, whose streams have no end.",
			func(s *s) *time.Duration { return &s.QueryTimeout }),
		timeRow("query_wait_timeout", "120", Live, "Longest wait for a server before the client is closed; 0 is no limit.",
			func(s *s) *time.Duration { return &s.QueryWaitTimeout }),
		timeRow("query_wait_notify", "5", Live, "After how long a waiting client is told so with a notice; 0 is never.",
			func(s *s) *time.Duration { return &s.QueryWaitNotify }),
		timeRow("cancel_wait_timeout", "10", Live, "Longest wait of a cancel request for a server connection; 0 is no limit.",
			func(s *s) *time.Duration { return &s.CancelWaitTimeout }),
		timeRow("idle_transaction_timeout", "0", Live, "How long a client may be silent inside a transaction before it is closed; 0 is for ever. Not for replication connections.",
			func(s *s) *time.Duration { return &s.IdleTransactionTimeout }),
		timeRow("transaction_timeout", "0", Live, "Longest transaction before its client is closed; 0 is no limit. Not for replication connections.",
			func(s *s) *time.Duration { return &s.TransactionTimeout }),
		timeRow("deadlock_timeout", "1", Live, "Sharded databases: how long a statement runs before it is looked whether transactions wait for each other on several shards; 0 is never.",
			func(s *s) *time.Duration { return &s.DeadlockTimeout }).own(),
		textRow("login_notify_message", "", NewClients, "Notice that each client is sent when it has logged in.",
			func(s *s) *string { return &s.LoginNotifyMessage }),
	}
}

func tlsRows() []*row[Settings] {
	type s = Settings
	return []*row[s]{
		wordRow("client_tls_sslmode", "disable", sslModeWords, NewClients, "Whether clients may or must use TLS, and whether they must show a certificate.",
			func(s *s) *string { return &s.ClientTLSSSLMode }),
		fileRow("client_tls_key_file", "", NewClients, "Private key shown to clients.",
			func(s *s) *string { return &s.ClientTLSKeyFile }),
		fileRow("client_tls_cert_file", "", NewClients, "Certificate shown to clients, with its chain.",
			func(s *s) *string { return &s.ClientTLSCertFile }),
		fileRow("client_tls_ca_file", "", NewClients, "Authorities whose client certificates are accepted.",
			func(s *s) *string { return &s.ClientTLSCAFile }),
		textRow("client_tls_protocols", "secure", NewClients, "TLS versions for clients: secure is 1.2 and 1.3; or names such as tlsv1.3, with commas.",
			func(s *s) *string { return &s.ClientTLSProtocols }).checked(tlsProtocols),
		textRow("client_tls_ciphers", "default", NewClients, "Cipher suites for clients up to TLS 1.2.",
			func(s *s) *string { return &s.ClientTLSCiphers }),
		textRow("client_tls13_ciphers", "", NewClients, "Cipher suites for clients with TLS 1.3.",
			func(s *s) *string { return &s.ClientTLS13Ciphers }).sticky(),
		textRow("client_tls_ecdhcurve", "auto", NewClients, "Elliptic curves for clients.",
			func(s *s) *string { return &s.ClientTLSECDHCurve }),
		wordRow("client_tls_dheparams", "auto", []string{"auto", "legacy", "none"}, NewClients, "Diffie-Hellman parameters for clients.",
			func(s *s) *string { return &s.ClientTLSDHEParams }),
		wordRow("server_tls_sslmode", "prefer", sslModeWords, Reconnect, "Whether servers may or must be reached over TLS, and how their certificates are checked.",
			func(s *s) *string { return &s.ServerTLSSSLMode }),
		fileRow("server_tls_ca_file", "", Reconnect, "Authorities that may have signed the servers' certificates.",
			func(s *s) *string { return &s.ServerTLSCAFile }),
		fileRow("server_tls_key_file", "", Reconnect, "Private key shown to servers.",
			func(s *s) *string { return &s.ServerTLSKeyFile }),
		fileRow("server_tls_cert_file", "", Reconnect, "Certificate shown to servers.",
			func(s *s) *string { return &s.ServerTLSCertFile }),
		textRow("server_tls_protocols", "secure", Reconnect, "TLS versions for servers, written as client_tls_protocols.",
			func(s *s) *string { return &s.ServerTLSProtocols }).checked(tlsProtocols),
		textRow("server_tls_ciphers", "default", Reconnect, "Cipher suites for servers up to TLS 1.2.",
			func(s *s) *string { return &s.ServerTLSCiphers }),
		textRow("server_tls13_ciphers", "", Reconnect, "Cipher suites for servers with TLS 1.3.",
			func(s *s) *string { return &s.ServerTLS13Ciphers }).sticky(),
	}
}

func networkRows() []*row[Settings] {
	type s = Settings
	return []*row[s]{
		newRow(KindSize, "pkt_buf", "4096", Restart, "Size of the buffers for packets.",
			func(s *s) *int { return &s.PktBuf }).within(512, 1<<24),
		newRow(KindSize, "max_packet_size", "2147483647", Live, "Largest message that is let through.",
			func(s *s) *int64 { return &s.MaxPacketSize }).within(1024, maxInt32),
		intRow("listen_backlog", "128", Restart, "Connections that the kernel queues before they are accepted.",
			func(s *s) *int { return &s.ListenBacklog }).within(1, maxInt32),
		intRow("sbuf_loopcnt", "5", Live, "How often one connection's data is handled before others get their turn; 0 is no limit.",
			func(s *s) *int { return &s.SbufLoopcnt }),
		boolRow("so_reuseport", "0", Restart, "Let several processes listen on the same port.",
			func(s *s) *bool { return &s.SoReuseport }),
		intRow("tcp_defer_accept", "1", Live, "TCP_DEFER_ACCEPT of the listening sockets, in seconds; 0 is off.",
			func(s *s) *int { return &s.TCPDeferAccept }),
		newRow(KindSize, "tcp_socket_buffer", "0", NewClients, "Size of the kernel's socket buffers; 0 leaves it to the kernel.",
			func(s *s) *int { return &s.TCPSocketBuffer }),
		boolRow("tcp_keepalive", "1", NewClients, "Send TCP keepalives.",
			func(s *s) *bool { return &s.TCPKeepalive }),
		intRow("tcp_keepcnt", "0", NewClients, "Unanswered keepalives after which a connection is dead; 0 is the system's.",
			func(s *s) *int { return &s.TCPKeepcnt }),
		intRow("tcp_keepidle", "0", NewClients, "Seconds of silence before the first keepalive; 0 is the system's.",
			func(s *s) *int { return &s.TCPKeepidle }),
		intRow("tcp_keepintvl", "0", NewClients, "Seconds between keepalives; 0 is the system's.",
			func(s *s) *int { return &s.TCPKeepintvl }),
		intRow("tcp_user_timeout", "0", NewClients, "Milliseconds that sent data may stay unacknowledged; 0 is the system's.",
			func(s *s) *int { return &s.TCPUserTimeout }),
	}
}
