// Uses node-postgres as an application would; any deviation ends it with an error. Arguments: port, database, "session" if a
// server stays with its client.
'use strict'
const assert = require('node:assert/strict')
const { Readable } = require('node:stream')
const { pipeline } = require('node:stream/promises')
const { Client, Pool } = require('pg')
const copy = require('pg-copy-streams')

const [port, database, mode] = process.argv.slice(2)
const options = { host: '127.0.0.1', port: Number(port), database, user: 'app', password: 'app', ssl: false }
const range = (n) => [...Array(n).keys()]

async function main() {
  const pool = new Pool({ ...options, max: 20 })

  // Simple protocol, several statements in one string.
  const both = await pool.query('SELECT 1 AS a; SELECT 2 AS b')
  assert.deepEqual(both.map((r) => r.rows[0]), [{ a: 1 }, { b: 2 }])

  // Many clients at once: each answer belongs to its question. Unnamed and named statements, texts shared between clients
  // under one name.
  await Promise.all(range(400).map(async (i) => {
    const r = await pool.query('SELECT $1::int AS i, $2::text AS t', [i, `text ${i}`])
    assert.deepEqual(r.rows, [{ i, t: `text ${i}` }])
    const named = await pool.query({ name: `s${i % 7}`, text: `SELECT $1::int * 10 + ${i % 7} AS v`, values: [i] })
    assert.equal(named.rows[0].v, i * 10 + (i % 7))
    const array = await pool.query({ text: 'SELECT $1::int, NULL', values: [i], rowMode: 'array' })
    assert.deepEqual(array.rows, [[i, null]])
  }))

  // One connection, everything queued at once.
  const client = new Client(options)
  await client.connect()
  const answers = await Promise.all(range(500).map((i) => client.query({ name: i % 2 ? 'odd' : 'even', text: `SELECT $1::int + ${i % 2} AS v`, values: [i] })))
  answers.forEach((r, i) => assert.equal(r.rows[0].v, i + (i % 2)))

  // Errors with their fields; the connection goes on.
  await client.query('DROP TABLE IF EXISTS node')
  await client.query('CREATE TABLE node (a int CONSTRAINT node_pk PRIMARY KEY, b text NOT NULL)')
  await client.query("INSERT INTO node VALUES (1, 'x')")
  const unique = { code: '23505', severity: 'ERROR', schema: 'public', table: 'node', constraint: 'node_pk', detail: 'Key (a)=(1) already exists.' }
  await assert.rejects(client.query("INSERT INTO node VALUES ($1, 'y')", [1]), unique)
  await assert.rejects(client.query('INSERT INTO node VALUES (2, NULL)'), { code: '23502', column: 'b' })
  await assert.rejects(client.query('SELECT nothing'), { code: '42703', position: '8' })
  await assert.rejects(client.query({ name: 'bad', text: 'SELECT 1 / $1::int', values: [0] }), { code: '22012' })
  assert.equal((await client.query({ name: 'bad', text: 'SELECT 1 / $1::int AS v', values: [1] }).catch((e) => e)).message.includes('bad'), true) // one name, two texts
  assert.equal((await client.query({ name: 'bad', text: 'SELECT 1 / $1::int', values: [1] })).rowCount, 1)

  // Transactions with an error in a savepoint.
  await client.query('BEGIN')
  await client.query("INSERT INTO node VALUES (2, 'two')")
  await client.query('SAVEPOINT s')
  await assert.rejects(client.query("INSERT INTO node VALUES (2, 'two')"), { code: '23505' })
  await assert.rejects(client.query('SELECT 1'), { code: '25P02' })
  await client.query('ROLLBACK TO s')
  await client.query('COMMIT')
  assert.equal((await client.query('SELECT count(*)::int AS n FROM node')).rows[0].n, 2)

  // COPY both ways.
  const lines = range(5000).map((i) => `${i + 100}\t${'c'.repeat(i % 300)}\n`)
  await pipeline(Readable.from(lines), client.query(copy.from('COPY node FROM STDIN')))
  let size = 0
  for await (const chunk of client.query(copy.to('COPY (SELECT * FROM node WHERE a >= 100 ORDER BY a) TO STDOUT'))) size += chunk.length
  assert.equal(size, lines.join('').length)
  await assert.rejects(pipeline(Readable.from(['no number\tx\n']), client.query(copy.from('COPY node FROM STDIN'))), { code: '22P02' })
  assert.equal((await client.query('SELECT 1 AS v')).rows[0].v, 1)

  // A statement_timeout that goes with the login, and one of the driver's own that leaves the query running.
  const hasty = new Client({ ...options, statement_timeout: 300 })
  await hasty.connect()
  await assert.rejects(hasty.query('SELECT pg_sleep(30)'), { code: '57014' })
  assert.equal((await hasty.query('SHOW statement_timeout')).rows[0].statement_timeout, '300ms')
  await hasty.end()
  assert.equal((await client.query('SHOW statement_timeout')).rows[0].statement_timeout, '0')
  const impatient = new Client({ ...options, query_timeout: 100 })
  impatient.on('error', () => {})
  await impatient.connect()
  await assert.rejects(impatient.query('SELECT pg_sleep(1)'), /timeout/)
  await impatient.end()

  // Cancel: a second connection carries the key of the first.
  const sleeping = client.query('SELECT pg_sleep(30)')
  const canceled = assert.rejects(sleeping, { code: '57014', message: 'canceling statement due to user request' })
  const watch = new Client(options)
  await watch.connect()
  for (;;) {
    const seen = await watch.query("SELECT FROM pg_stat_activity WHERE query = 'SELECT pg_sleep(30)' AND state = 'active' AND datname = $1", [database])
    if (seen.rowCount > 0) break
  }
  await new Promise((resolve, reject) => {
    const c = new Client(options).connection
    c.on('connect', () => { c.cancel(client.processID, client.secretKey) })
    c.on('error', reject)
    c.on('end', resolve)
    c.stream.on('close', resolve)
    c.connect(options.port, options.host)
  })
  await canceled

  if (mode === 'session') {
    await watch.query('LISTEN "a channel"')
    const heard = new Promise((resolve) => { watch.on('notification', resolve) })
    await client.query("SELECT pg_notify('a channel', 'payload')")
    const n = await heard
    assert.deepEqual([n.channel, n.payload], ['a channel', 'payload'])
  }

  // The admin database, in simple and extended protocol.
  const admin = new Client({ ...options, database: 'pgdrover', user: 'admin', password: 'admin' })
  await admin.connect()
  const pools = await admin.query('SHOW POOLS')
  assert.ok(pools.rows.some((r) => r.database === database && r.pool_mode !== undefined), JSON.stringify(pools.rows))
  const one = await admin.query('SELECT database, cl_active FROM pools WHERE database = $1', [database])
  assert.equal(one.rows[0].database, database)
  await assert.rejects(admin.query('SHOW NOTHING'), { severity: 'ERROR' })

  await Promise.all([admin.end(), watch.end(), client.end(), pool.end()])
}

main().catch((e) => { console.error(e); process.exitCode = 1 })
