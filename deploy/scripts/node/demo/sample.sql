-- A database with some of everything that a dump must carry: foreign keys, blobs, text in several scripts, a view, a
-- trigger, a routine. MariaDB's own sequence engine makes the rows, so nothing is copied into the Pod.
CREATE DATABASE shop CHARACTER SET utf8mb4;
USE shop;
CREATE TABLE customers (
  id INT PRIMARY KEY AUTO_INCREMENT, name VARCHAR(80) NOT NULL, note TEXT, balance DECIMAL(12, 2) NOT NULL DEFAULT 0
);
CREATE TABLE orders (
  id INT PRIMARY KEY AUTO_INCREMENT, customer INT NOT NULL, placed DATETIME(6) NOT NULL, amount DECIMAL(10, 2) NOT NULL,
  detail VARCHAR(700) NOT NULL, FOREIGN KEY (customer) REFERENCES customers (id)
);
CREATE TABLE pictures (id INT PRIMARY KEY, content MEDIUMBLOB NOT NULL);
INSERT INTO customers (id, name, note, balance)
  SELECT seq, CONCAT('Kundin ', seq, ' Łódź 東京'), IF(seq % 7, CONCAT('it''s \\ "', seq, '"\n'), NULL), 0 FROM seq_1_to_5000;
INSERT INTO orders
  SELECT seq, 1 + seq * 7919 % 5000, '2026-01-01' + INTERVAL seq MINUTE, seq % 9973 / 7, REPEAT(SHA2(seq, 256), 9)
  FROM seq_1_to_60000;
INSERT INTO pictures SELECT seq, UNHEX(REPEAT(SHA2(seq, 512), 500)) FROM seq_1_to_200;
CREATE VIEW spent AS SELECT customer, SUM(amount) AS amount FROM orders GROUP BY customer;
CREATE TRIGGER orders_change_balances AFTER INSERT ON orders
  FOR EACH ROW UPDATE customers SET balance = balance + NEW.amount WHERE id = NEW.customer;
CREATE FUNCTION answer() RETURNS INT DETERMINISTIC RETURN 42;
