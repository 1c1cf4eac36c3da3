COMMIT;
SET foreign_key_checks = 1, unique_checks = 1, autocommit = 1;

CREATE VIEW order_totals AS
  SELECT o.id AS order_id, o.customer_id, o.status, SUM(i.amount) AS total
  FROM orders o JOIN order_items i ON i.order_id = o.id
  GROUP BY o.id, o.customer_id, o.status;

-- A view on a view, whose name sorts before the one it needs.
CREATE VIEW best_customers AS
  SELECT c.id, c.name, c.country, SUM(t.total) AS revenue
  FROM customers c JOIN order_totals t ON t.customer_id = c.id
  WHERE t.status <> 'returned'
  GROUP BY c.id, c.name, c.country;

DELIMITER //

CREATE FUNCTION customer_revenue(customer BIGINT UNSIGNED) RETURNS DECIMAL(14, 2)
  READS SQL DATA
BEGIN
  RETURN (SELECT COALESCE(SUM(total), 0) FROM order_totals WHERE customer_id = customer);
END//

CREATE PROCEDURE place_order(IN customer BIGINT UNSIGNED, IN product BIGINT UNSIGNED, IN pieces INT)
  MODIFIES SQL DATA
  COMMENT 'one order with one line; its number comes from the sequence ☕'
BEGIN
  DECLARE number BIGINT UNSIGNED;
  SET number = NEXT VALUE FOR order_numbers;
  INSERT INTO orders (id, customer_id, ordered_at) VALUES (number, customer, '2025-01-01 12:00:00.000');
  INSERT INTO order_items (order_id, line, product_id, quantity, price)
    SELECT number, 1, p.id, pieces, p.gross FROM products p WHERE p.id = product;
END//

CREATE TRIGGER customers_after_update AFTER UPDATE ON customers FOR EACH ROW
BEGIN
  IF NOT (NEW.note <=> OLD.note) THEN
    INSERT INTO audit_log (customer_id, what) VALUES (NEW.id, CONCAT('note changed; „', NEW.name, '“'));
  END IF;
END//

CREATE TRIGGER orders_before_insert BEFORE INSERT ON orders FOR EACH ROW
BEGIN
  SET NEW.weight_kg = COALESCE(NEW.weight_kg, 0.5);
END//

CREATE EVENT forget_old_audit ON SCHEDULE EVERY 1 DAY STARTS '2025-01-01 03:00:00'
  COMMENT 'keeps the audit log short'
DO BEGIN
  DELETE FROM audit_log WHERE id + 100000 < (SELECT newest FROM (SELECT MAX(id) AS newest FROM audit_log) x);
END//

DELIMITER ;
