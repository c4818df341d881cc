package config

import "time"

// loginKeys are what an entry may say about its password besides giving it.
type loginKeys struct {
	passwordEnv, passwordFile string
}

// databaseKeys is a Database with the keys that do not become fields of their own.
type databaseKeys struct {
	Database
	loginKeys
	url, dsn Secret
}

// userKeys is likewise for a User.
type userKeys struct {
	User
	loginKeys
}

// databaseTable has one row per key of a [databases] entry.
var databaseTable = newTable(
	inGroup("Server", databaseServerRows()...),
	inGroup("Limits and modes", databaseLimitRows()...),
	inGroup("Sessions", databaseSessionRows()...),
	inGroup("TLS", databaseTLSRows()...),
)

func databaseServerRows() []*row[databaseKeys] {
	type d = databaseKeys
	return []*row[d]{
		textRow("dbname", "", Reconnect, "Database on the server; the entry's own name unless set.",
			func(d *d) *string { return &d.DBName }),
		listRow("host", "", Reconnect, "Host names, addresses, or socket folders (/folder, @abstract); unix_socket_dir unless set.",
			func(d *d) *[]string { return &d.Hosts }),
		intRow("port", "5432", Reconnect, "Port of all the hosts.",
			func(d *d) *int { return &d.Port }).within(1, 65535),
		textRow("user", "", Reconnect, "Log in to the server as this user, whoever the client is.",
			func(d *d) *string { return &d.User }),
		newRow(KindString, "password", "", NewServers, "Password for the server: plain, md5… or SCRAM-SHA-256$….",
			func(d *d) *Secret { return &d.Password }).secret(),
		textRow("password_env", "", NewServers, "Environment variable that holds the password.",
			func(d *d) *string { return &d.passwordEnv }).own(),
		fileRow("password_file", "", NewServers, "File that holds the password; a newline at its end does not count.",
			func(d *d) *string { return &d.passwordFile }).own(),
		newRow(KindString, "url", "", Reconnect, "Connect string as a URL, postgres://user:password@host:port/dbname?sslmode=…; keys beside it win.",
			func(d *d) *Secret { return &d.url }).own().secret(),
		newRow(KindString, "dsn", "", Reconnect, "Connect string as host=… port=… dbname=…; keys beside it win.",
			func(d *d) *Secret { return &d.dsn }).own().secret(),
		wordRow("load_balance_hosts", "", []string{"round-robin", "disable"}, Reconnect, "Whether new connections go to the hosts in turn (round-robin, also when unset) or stay with one until it fails (disable).",
			func(d *d) *string { return &d.LoadBalanceHosts }),
		textRow("auth_user", "", NewClients, "auth_user of this database.",
			func(d *d) *string { return &d.AuthUser }),
		textRow("auth_query", "", NewClients, "auth_query of this database.",
			func(d *d) *string { return &d.AuthQuery }),
		textRow("auth_dbname", "", NewClients, "auth_dbname of this database.",
			func(d *d) *string { return &d.AuthDBName }).checked(notAdminDatabase),
		textRow("recovery_user", "", Live, "Sharded databases: role that finishes transactions over several shards that were interrupted.",
			func(d *d) *string { return &d.RecoveryUser }).own(),
		listRow("shard_local", "", Live, "Sharded databases: functions that may reach tables, and are known to reach rows of their own shard only.",
			func(d *d) *[]string { return &d.ShardLocal }).own(),
		listRow("waive", "", Live, "Sharded databases: checks of the shards' catalogs that are waived, by the names in their messages.",
			func(d *d) *[]string { return &d.Waive }).own(),
	}
}

func databaseLimitRows() []*row[databaseKeys] {
	type d = databaseKeys
	return []*row[d]{
		intRowOpt("pool_size", Live, "default_pool_size of this database.",
			func(d *d) **int { return &d.PoolSize }),
		intRowOpt("min_pool_size", Live, "min_pool_size of this database.",
			func(d *d) **int { return &d.MinPoolSize }),
		intRowOpt("reserve_pool_size", Live, "reserve_pool_size of this database.",
			func(d *d) **int { return &d.ReservePoolSize }).alias("reserve_pool"),
		wordRow("pool_mode", "", poolModeWords, NewClients, "pool_mode of this database.",
			func(d *d) **PoolMode { return &d.PoolMode }),
		intRowOpt("max_db_connections", Live, "max_db_connections of this database.",
			func(d *d) **int { return &d.MaxDBConnections }),
		intRowOpt("max_db_client_connections", Live, "max_db_client_connections of this database.",
			func(d *d) **int { return &d.MaxDBClientConns }),
		timeRowOpt("query_wait_timeout", Live, "query_wait_timeout of this database.",
			func(d *d) **time.Duration { return &d.QueryWaitTimeout }),
		timeRowOpt("server_lifetime", Live, "server_lifetime of this database; 0 is the global one.",
			func(d *d) **time.Duration { return &d.ServerLifetime }),
	}
}

func databaseSessionRows() []*row[databaseKeys] {
	type d = databaseKeys
	return []*row[d]{
		textRow("connect_query", "", Reconnect, "Query that runs once on each new server connection.",
			func(d *d) *string { return &d.ConnectQuery }),
		textRow("client_encoding", "", Reconnect, "client_encoding of new server connections.",
			func(d *d) *string { return &d.ClientEncoding }),
		textRow("datestyle", "", Reconnect, "DateStyle of new server connections.",
			func(d *d) *string { return &d.DateStyle }),
		textRow("timezone", "", Reconnect, "TimeZone of new server connections.",
			func(d *d) *string { return &d.TimeZone }),
		textRow("application_name", "", Reconnect, "application_name of new server connections.",
			func(d *d) *string { return &d.ApplicationName }),
	}
}

func databaseTLSRows() []*row[databaseKeys] {
	type d = databaseKeys
	return []*row[d]{
		wordRow("server_tls_sslmode", "", sslModeWords, Reconnect, "server_tls_sslmode of this database.",
			func(d *d) *string { return &d.ServerTLSSSLMode }).own(),
		fileRow("server_tls_ca_file", "", Reconnect, "server_tls_ca_file of this database.",
			func(d *d) *string { return &d.ServerTLSCAFile }).own(),
		fileRow("server_tls_cert_file", "", Reconnect, "server_tls_cert_file of this database.",
			func(d *d) *string { return &d.ServerTLSCertFile }).own(),
		fileRow("server_tls_key_file", "", Reconnect, "server_tls_key_file of this database.",
			func(d *d) *string { return &d.ServerTLSKeyFile }).own(),
	}
}

// userTable has one row per key of a [users] entry.
var userTable = newTable(
	inGroup("Login", userLoginRows()...),
	inGroup("Limits and modes", userLimitRows()...),
)

func userLoginRows() []*row[userKeys] {
	type u = userKeys
	return []*row[u]{
		newRow(KindString, "password", "", NewClients, "Password of the user: plain, md5… or SCRAM-SHA-256$….",
			func(u *u) *Secret { return &u.Password }).own().secret(),
		textRow("password_env", "", NewClients, "Environment variable that holds the password.",
			func(u *u) *string { return &u.passwordEnv }).own(),
		fileRow("password_file", "", NewClients, "File that holds the password; a newline at its end does not count.",
			func(u *u) *string { return &u.passwordFile }).own(),
	}
}

func userLimitRows() []*row[userKeys] {
	type u = userKeys
	return []*row[u]{
		wordRow("pool_mode", "", poolModeWords, NewClients, "pool_mode of this user's pools.",
			func(u *u) **PoolMode { return &u.PoolMode }),
		intRowOpt("pool_size", Live, "Size of this user's pools.",
			func(u *u) **int { return &u.PoolSize }),
		intRowOpt("reserve_pool_size", Live, "reserve_pool_size of this user's pools.",
			func(u *u) **int { return &u.ReservePoolSize }).alias("reserve_pool"),
		intRowOpt("max_user_connections", Live, "max_user_connections of this user.",
			func(u *u) **int { return &u.MaxUserConnections }),
		intRowOpt("max_user_client_connections", Live, "max_user_client_connections of this user.",
			func(u *u) **int { return &u.MaxUserClientConns }),
		timeRowOpt("query_timeout", Live, "query_timeout of this user.",
			func(u *u) **time.Duration { return &u.QueryTimeout }),
		timeRowOpt("query_wait_timeout", Live, "query_wait_timeout of this user.",
			func(u *u) **time.Duration { return &u.QueryWaitTimeout }),
		timeRowOpt("idle_transaction_timeout", Live, "idle_transaction_timeout of this user.",
			func(u *u) **time.Duration { return &u.IdleTransactionTimeout }),
		timeRowOpt("transaction_timeout", Live, "transaction_timeout of this user.",
			func(u *u) **time.Duration { return &u.TransactionTimeout }),
		timeRowOpt("client_idle_timeout", Live, "client_idle_timeout of this user.",
			func(u *u) **time.Duration { return &u.ClientIdleTimeout }),
	}
}

// peerTable has one row per key of a [peers] entry.
var peerTable = newTable(inGroup("Peer", peerRows()...))

func peerRows() []*row[Peer] {
	return []*row[Peer]{
		textRow("host", "", Live, "Host name, address or socket folder of the peer. Required.",
			func(p *Peer) *string { return &p.Host }),
		intRow("port", "6432", Live, "Port of the peer.",
			func(p *Peer) *int { return &p.Port }).within(1, 65535),
		intRow("pool_size", "", Live, "Most connections to the peer; default_pool_size unless set.",
			func(p *Peer) *int { return &p.PoolSize }),
	}
}

func intRowOpt[T any](name string, a Applies, meaning string, field func(*T) **int) *row[T] {
	return newRow(KindInt, name, "", a, meaning, field)
}

func timeRowOpt[T any](name string, a Applies, meaning string, field func(*T) **time.Duration) *row[T] {
	return newRow(KindDuration, name, "", a, meaning, field)
}
